/* The command line: which command on which config, with which options. */
#pragma once

#include "gmvae/app.h"

typedef struct gmv_command {
    const char *name;
    const char *operands; /* for the usage line */
    const char *help;
    gmv_status (*run)(gmv_run *run);
    bool needs_config; /* a config file must be named */
    bool trains;       /* data.train must name files */
    bool sweeps;       /* its config is of several runs, and is checked run by run */
    bool plans;        /* knows --dry-run */
    bool reports;      /* what it prints is its result */
    bool takes_file;   /* its operand is a data file, not a config */
} gmv_command;

typedef struct gmv_cli {
    const gmv_command *command;
    const char *file; /* the config, or the file to inspect; NULL when none was given */
    const char **override;
    int overrides;
    bool help, version, dry_run, print_config, print_config_docs, json;
} gmv_cli;

/* Ownership: `override` is allocated here, its texts belong to argv; caller frees with gmv_cli_fini.
 * Errors: GMV_ERR_CONFIG for unknown commands, options and operands, with the nearest known word. */
gmv_status gmv_cli_parse(gmv_cli *cli, int argc, char **argv);
void gmv_cli_fini(gmv_cli *cli);

/* Whether the command line asks for a text only, which needs no MPI. */
bool gmv_cli_only_prints(const gmv_cli *cli);

/* Prints that text on stdout. */
gmv_status gmv_cli_print(const gmv_cli *cli);

/* The i-th of the program's own version and those of its libraries. False behind the last. Before MPI starts, too. */
typedef struct gmv_version {
    const char *name;
    char text[256];
} gmv_version;
bool gmv_version_at(int i, gmv_version *version);

/* One "NAME VERSION" a line. */
void gmv_versions_print(FILE *out);

/* First line of the MPI library's own description: "Open MPI v4.1.4". */
void gmv_version_mpi(char *text, size_t size);
