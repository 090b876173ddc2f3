/* The subcommands. Each is collective and returns when its files are complete. */
#pragma once

#include "gmvae/comm.h"
#include "gmvae/config.h"

typedef struct gmv_run {
    gmv_comm comm;
    gmv_config config; /* resolved; empty for commands without a config */
    bool dry_run;      /* train, synth: check everything, print the plan, train and write nothing */
    bool json;         /* inspect: one JSON object */
    const char *file;  /* inspect: the file to look at */
} gmv_run;

gmv_status gmv_cmd_train(gmv_run *run);   /* src/app/cmd_train.c */
gmv_status gmv_cmd_embed(gmv_run *run);   /* src/app/cmd_embed.c */
gmv_status gmv_cmd_eval(gmv_run *run);    /* src/app/cmd_eval.c */
gmv_status gmv_cmd_inspect(gmv_run *run); /* src/app/cmd_inspect.c */
gmv_status gmv_cmd_doctor(gmv_run *run);  /* src/app/cmd_doctor.c */
gmv_status gmv_cmd_synth(gmv_run *run);   /* src/app/cmd_synth.c */
