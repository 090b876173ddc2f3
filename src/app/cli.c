#include "cli.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const gmv_command commands[] = {
    {.name = "train",
     .operands = "CONFIG.yaml [KEY=VALUE ...]",
     .help = "train a model, then write what output: asks for",
     .run = gmv_cmd_train,
     .needs_config = true,
     .trains = true,
     .plans = true},
    {.name = "sweep",
     .operands = "CONFIG.yaml [KEY=VALUE ...]",
     .help = "train over values of keys (sweep:), and tabulate",
     .run = gmv_cmd_sweep,
     .needs_config = true,
     .plans = true,
     .sweeps = true},
    {.name = "embed",
     .operands = "CONFIG.yaml [KEY=VALUE ...]",
     .help = "latent means and cluster probabilities of cells",
     .run = gmv_cmd_embed,
     .needs_config = true},
    {.name = "eval",
     .operands = "CONFIG.yaml [KEY=VALUE ...]",
     .help = "held-out bounds of a checkpoint",
     .run = gmv_cmd_eval,
     .needs_config = true},
    {.name = "denoise",
     .operands = "CONFIG.yaml [KEY=VALUE ...]",
     .help = "expected expression of genes, under any batch",
     .run = gmv_cmd_denoise,
     .needs_config = true,
     .plans = true},
    {.name = "generate",
     .operands = "CONFIG.yaml [KEY=VALUE ...]",
     .help = "cells drawn from the model, with counts",
     .run = gmv_cmd_generate,
     .needs_config = true,
     .plans = true},
    {.name = "markers",
     .operands = "CONFIG.yaml [KEY=VALUE ...]",
     .help = "genes whose expected expression tells clusters",
     .run = gmv_cmd_markers,
     .needs_config = true},
    {.name = "report",
     .operands = "CONFIG.yaml [KEY=VALUE ...]",
     .help = "one page and pictures of what a run left",
     .run = gmv_cmd_report,
     .needs_config = true},
    {.name = "synth",
     .operands = "[CONFIG.yaml] [KEY=VALUE ...]",
     .help = "a synthetic atlas with known types and batches",
     .run = gmv_cmd_synth,
     .plans = true},
    {.name = "inspect",
     .operands = "FILE [KEY=VALUE ...]",
     .help = "what is in an input file or a checkpoint",
     .run = gmv_cmd_inspect,
     .takes_file = true,
     .reports = true},
    {.name = "doctor",
     .operands = "[CONFIG.yaml]",
     .help = "what this machine and this allocation offer",
     .run = gmv_cmd_doctor,
     .reports = true},
};
enum { command_count = sizeof commands / sizeof commands[0] };

/* An option sets one flag of gmv_cli. */
static const struct option {
    const char *name, *help; /* help NULL: not listed */
    size_t flag;
} options[] = {
    {"--help", "this text; with a command, what the command does", offsetof(gmv_cli, help)},
    {"--version", "versions of the program and its libraries", offsetof(gmv_cli, version)},
    {"--print-config", "all keys with the values in effect, as YAML", offsetof(gmv_cli, print_config)},
    {"--dry-run", "train, sweep, denoise, generate, synth: check, print the plan", offsetof(gmv_cli, dry_run)},
    {"--json", "inspect: one JSON object", offsetof(gmv_cli, json)},
    {"--print-config-docs", NULL, offsetof(gmv_cli, print_config_docs)},
};
enum { option_count = sizeof options / sizeof options[0] };

static const gmv_command *find_command(const char *word)
{
    for (int i = 0; i < command_count; i++) {
        if (strcmp(commands[i].name, word) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

static gmv_status take_option(gmv_cli *cli, const char *word)
{
    const char *names[option_count];
    int listed = 0;
    word = strcmp(word, "-h") == 0 ? "--help" : word;
    for (int i = 0; i < option_count; i++) {
        if (strcmp(options[i].name, word) == 0) {
            *(bool *)((char *)cli + options[i].flag) = true;
            return GMV_OK;
        }
        if (options[i].help != NULL) {
            names[listed++] = options[i].name;
        }
    }
    const char *near = gmv_nearest(word, listed, names);
    return GMV_FAIL(GMV_ERR_CONFIG, "unknown option \"%.80s\"; %s%s%s", word, near != NULL ? "did you mean \"" : "see ",
                    near != NULL ? near : "gmvae_dist --help", near != NULL ? "\"?" : "");
}

/* Whether a word is meant as KEY=VALUE where a file is possible too: a file name may hold a "=". */
static bool is_override(const char *word)
{
    size_t key = strcspn(word, "=");
    return word[key] == '=' && strcspn(word, "/") > key && access(word, F_OK) != 0;
}

/* Whether a first word looks like a file rather than like a command. */
static bool is_file_name(const char *word)
{
    return strpbrk(word, "./") != NULL || access(word, F_OK) == 0;
}

static gmv_status unknown_command(const char *word)
{
    const char *names[command_count];
    for (int i = 0; i < command_count; i++) {
        names[i] = commands[i].name;
    }
    const char *near = gmv_nearest(word, command_count, names);
    if (near != NULL) {
        return GMV_FAIL(GMV_ERR_CONFIG, "unknown command \"%.80s\"; did you mean \"%s\"?", word, near);
    }
    return GMV_FAIL(GMV_ERR_CONFIG, "\"%.80s\" is neither a command nor a config file; see gmvae_dist --help", word);
}

static gmv_status take_operand(gmv_cli *cli, const char *word)
{
    if (cli->file != NULL || is_override(word)) {
        if (strchr(word, '=') == NULL) {
            return GMV_FAIL(GMV_ERR_CONFIG,
                            "\"%.80s\" after %.200s is not KEY=VALUE; write for example "
                            "train.epochs=10",
                            word, cli->file);
        }
        cli->override[cli->overrides++] = word;
        return GMV_OK;
    }
    if (cli->command == NULL) {
        cli->command = find_command(word);
        if (cli->command != NULL) {
            return GMV_OK;
        }
        if (!is_file_name(word)) {
            return unknown_command(word);
        }
        cli->command = find_command("train");
    }
    cli->file = word;
    return GMV_OK;
}

static gmv_status check_usage(const gmv_cli *cli)
{
    const char *name = cli->command->name;
    if (cli->dry_run && !cli->command->plans) {
        return GMV_FAIL(GMV_ERR_CONFIG,
                        "--dry-run belongs to train, sweep, denoise, generate and synth; %s takes no such option",
                        name);
    }
    if (cli->json && !cli->command->takes_file) {
        return GMV_FAIL(GMV_ERR_CONFIG, "--json belongs to inspect; %s takes no such option", name);
    }
    if (cli->command->takes_file && cli->file == NULL) {
        return GMV_FAIL(GMV_ERR_CONFIG, "no file given; write gmvae_dist %s FILE", name);
    }
    if (cli->command->needs_config && cli->file == NULL) {
        return GMV_FAIL(GMV_ERR_CONFIG, "no config file given; write gmvae_dist %s CONFIG.yaml, or gmvae_dist --help",
                        name);
    }
    return GMV_OK;
}

gmv_status gmv_cli_parse(gmv_cli *cli, int argc, char **argv)
{
    *cli = (gmv_cli){0};
    GMV_TRY(GMV_NEW(cli->override, argc > 0 ? argc : 1, "the command line"));
    for (int i = 1; i < argc; i++) {
        GMV_TRY(argv[i][0] == '-' ? take_option(cli, argv[i]) : take_operand(cli, argv[i]));
    }
    bool bare = cli->command == NULL;
    if (bare) {
        cli->command = find_command("train");
    }
    if (cli->help && bare) {
        cli->command = NULL; /* the whole program's help */
    }
    return gmv_cli_only_prints(cli) ? GMV_OK : check_usage(cli);
}

void gmv_cli_fini(gmv_cli *cli)
{
    GMV_FREE(cli->override);
}

bool gmv_cli_only_prints(const gmv_cli *cli)
{
    return cli->help || cli->version || cli->print_config || cli->print_config_docs;
}

static void print_command_help(const gmv_command *command)
{
    printf("Usage: gmvae_dist %s %s\n\n%s.\n\nOptions:\n", command->name, command->operands, command->help);
}

static void print_program_help(void)
{
    puts("Usage: gmvae_dist [COMMAND] CONFIG.yaml [KEY=VALUE ...]\n"
         "       mpirun -np 8 gmvae_dist CONFIG.yaml\n"
         "\n"
         "Trains Gaussian-mixture variational autoencoders on single-cell counts.\n"
         "\n"
         "Commands (train when none is given):");
    for (int i = 0; i < command_count; i++) {
        printf("  %-16s %s\n", commands[i].name, commands[i].help);
    }
    puts("\nKEY=VALUE sets a key of the config by its dotted path: train.epochs=10\n\nOptions:");
}

static void print_help(const gmv_command *command)
{
    if (command != NULL) {
        print_command_help(command);
    } else {
        print_program_help();
    }
    for (int i = 0; i < option_count; i++) {
        bool foreign = command != NULL && ((strcmp(options[i].name, "--dry-run") == 0 && !command->plans) ||
                                           (strcmp(options[i].name, "--json") == 0 && !command->takes_file));
        if (options[i].help != NULL && !foreign) {
            printf("  %-16s %s\n", options[i].name, options[i].help);
        }
    }
    if (command == NULL) {
        puts("\nExit codes: 0 done, 1 internal error, 2 usage or config, 3 data, 4 numerical failure,\n"
             "5 environment, 75 stopped after a checkpoint or lost contact: run again, nothing is lost.");
    }
}

static gmv_status print_config(const gmv_cli *cli)
{
    bool from_file = cli->file != NULL && !cli->command->takes_file;
    char *text = NULL;
    int64_t length = 0;
    if (from_file) {
        GMV_TRY(gmv_config_read_file(cli->file, &text, &length));
    }
    gmv_config config;
    gmv_status status = gmv_config_parse(&config, from_file ? cli->file : "defaults", from_file ? text : "", length,
                                         cli->overrides, cli->override);
    gmv_free(text);
    GMV_TRY(status);
    status = gmv_config_write(&config, stdout);
    gmv_config_fini(&config);
    return status;
}

gmv_status gmv_cli_print(const gmv_cli *cli)
{
    if (cli->help) {
        print_help(cli->command);
    } else if (cli->version) {
        gmv_versions_print(stdout);
    } else if (cli->print_config_docs) {
        gmv_config_write_docs(stdout);
    } else {
        GMV_TRY(print_config(cli));
    }
    return gmv_output_check();
}
