/* The subcommands. Each is collective and returns when its files are complete. */
#pragma once

#include "gmvae/comm.h"
#include "gmvae/config.h"

typedef struct gmv_run {
    gmv_comm comm;
    gmv_config config; /* resolved; empty for commands without a config */
    bool
        dry_run; /* train, sweep, denoise, generate, synth: check everything, print the plan, train and write nothing */
    bool json;   /* inspect: one JSON object */
    const char *file;            /* inspect: the file to look at; else the config's name */
    const char *text;            /* the config as it was written; NULL: there is none */
    const char *const *override; /* [overrides] what the command line adds to it */
    int overrides;
    int64_t until; /* train: epochs after which it pauses, with a checkpoint and without results; 0: never */
} gmv_run;

gmv_status gmv_cmd_train(gmv_run *run);    /* src/app/cmd_train.c */
gmv_status gmv_cmd_sweep(gmv_run *run);    /* src/app/cmd_sweep.c */
gmv_status gmv_cmd_embed(gmv_run *run);    /* src/app/cmd_embed.c */
gmv_status gmv_cmd_eval(gmv_run *run);     /* src/app/cmd_eval.c */
gmv_status gmv_cmd_denoise(gmv_run *run);  /* src/app/cmd_denoise.c */
gmv_status gmv_cmd_generate(gmv_run *run); /* src/app/cmd_generate.c */
gmv_status gmv_cmd_markers(gmv_run *run);  /* src/app/cmd_markers.c */
gmv_status gmv_cmd_report(gmv_run *run);   /* src/app/cmd_report.c */
gmv_status gmv_cmd_inspect(gmv_run *run);  /* src/app/cmd_inspect.c */
gmv_status gmv_cmd_doctor(gmv_run *run);   /* src/app/cmd_doctor.c */
gmv_status gmv_cmd_synth(gmv_run *run);    /* src/app/cmd_synth.c */
