#define _DEFAULT_SOURCE /* RLIMIT_NPROC */
#include "app/cli.h"

#include "gmvae/checker.h"
#include "gmvae/checkpoint.h"
#include "gmvae/data.h"
#include "gmvae/inspect.h"
#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/signals.h"
#include "gmvae/threads.h"

#include <omp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* Address space that MPI takes when it starts, and HDF5 and the reading of files afterwards. */
enum { room_bytes = 5 << 24 };

static long number_in_environment(const char *name)
{
    const char *text = getenv(name);
    return text != NULL ? strtol(text, NULL, 10) : 0;
}

/* The first of these variables that is set; `fallback` when none is. */
static long first_of(const char *const *names, long fallback)
{
    for (; *names != NULL; names++) {
        if (getenv(*names) != NULL) {
            return number_in_environment(*names);
        }
    }
    return fallback;
}

/* What the launcher says, read before MPI starts: a process without a launcher gets such variables from MPI. */
typedef struct launch {
    long rank, tasks;
} launch;

static launch read_launch(void)
{
    static const char *const ranks[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID", NULL};
    static const char *const tasks[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS",
                                        NULL};
    return (launch){first_of(ranks, 0), first_of(tasks, 1)};
}

static void print_error(gmv_status status)
{
    const char *message = gmv_error_message();
    const char *kind = status == GMV_STOPPED ? "" : "error: "; /* a stop that was asked for is no error */
    gmv_log_clear();
    fprintf(stderr, "gmvae_dist: %s%s\n", kind, message[0] != '\0' ? message : gmv_status_sentence(status));
}

/* Tasks that MPI does not connect all believe to be the whole run and write the same files. */
static void warn_of_independent_copies(const gmv_comm *comm, launch launched)
{
    if (comm->size == 1 && launched.tasks > 1 && launched.rank == 0) {
        gmv_warn("%ld tasks were asked for, but MPI connects only this one; where every task starts gmvae_dist, "
                 "%ld independent copies write the same files; start with mpirun -np %ld gmvae_dist ..., or "
                 "srun --mpi=pmix gmvae_dist ...",
                 launched.tasks, launched.tasks, launched.tasks);
    }
}

/* Takes fewer threads where not all can be started. Cells on disk are read by further ones, at most a quarter and one; one
 * more, as the last that was tried may still be ending. Collective. */
static void limit_threads(gmv_comm *comm)
{
    int wanted = comm->cores, others = wanted / 4 + 2;
    int can = wanted > 1 ? gmv_threads_startable(wanted - 1 + others, room_bytes) + 1 - others : wanted;
    comm->cores = can >= wanted ? wanted : can > 1 ? can : 1;
    omp_set_num_threads(comm->cores);
    int64_t missing = wanted - comm->cores;
    gmv_comm_max_i64(comm, &missing, 1);
    if (missing > 0) {
        gmv_warn("only %d of %d threads can be started; raise the limits on processes and address space (ulimit -u, "
                 "ulimit -v)",
                 wanted - (int)missing, wanted);
    }
}

/* @param[out] text  of the config file, for gmv_free */
static gmv_status prepare(gmv_run *run, const gmv_cli *cli, char **text)
{
    if (cli->file != NULL && !cli->command->takes_file) {
        GMV_TRY(gmv_config_fetch(&run->comm, cli->file, text));
        run->text = *text;
        GMV_TRY(gmv_comm_agree(&run->comm, gmv_config_parse(&run->config, cli->file, *text, (int64_t)strlen(*text),
                                                            cli->overrides, cli->override)));
    } else {
        GMV_TRY(gmv_config_parse(&run->config, "defaults", "", 0, cli->overrides, cli->override));
    }
    GMV_TRY(gmv_config_expand_paths(&run->config));
    gmv_status status = cli->command->needs_config && !cli->command->sweeps ? gmv_config_check(&run->config) : GMV_OK;
    if (status == GMV_OK && cli->command->trains) {
        status = gmv_config_check_trains(&run->config);
    }
    if (status != GMV_OK) {
        char message[2048];
        snprintf(message, sizeof message, "%.500s: %s", cli->file, gmv_error_message());
        gmv_error_set(message);
        return status;
    }
    gmv_comm_set_timeout(run->config.runtime_timeout);
    if (run->config.runtime_threads > 0) {
        run->comm.cores = (int)run->config.runtime_threads;
    }
    return GMV_OK;
}

/* MPI crashes where it gets no memory, and HDF5 takes a lack of it for a damaged file. */
static gmv_status check_addresses(void)
{
    const double megabyte = 1e6;
    gmv_addresses here = gmv_memory_addresses();
    if (here.limit < 0 || gmv_memory_blocks(1, room_bytes, 1) == 1) {
        return GMV_OK;
    }
    return GMV_FAIL(GMV_ERR_ENVIRONMENT,
                    "the limit on address space (ulimit -v) of %.0f MB is too small: the program and MPI need at least "
                    "%.0f MB, and a run some hundreds more; raise it",
                    (double)here.limit / megabyte, (double)(here.used + room_bytes) / megabyte);
}

/* MPI says little of what it lacks. The numbers are what it and the program were seen to take. */
static gmv_status check_counts(void)
{
    enum { files = 32, others = 12 };
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < files) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT,
                        "the limit on open files (ulimit -n) of %d is too small: MPI and the program need at least %d; "
                        "raise it",
                        (int)limit.rlim_cur, files);
    }
    bool counted = getrlimit(RLIMIT_NPROC, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
    /* a limit on addresses keeps threads from starting, too */
    if (counted && gmv_memory_addresses().limit < 0 && gmv_threads_startable(others, 0) < others) {
        return GMV_FAIL(
            GMV_ERR_ENVIRONMENT,
            "the limit on processes (ulimit -u) of %d is too small: MPI and the program start about %d, and "
            "the user has others; raise it",
            (int)limit.rlim_cur, others);
    }
    return GMV_OK;
}

/* Everything between the start and the end of MPI. `status` is what the command line gave. */
static gmv_status run_ranks(const gmv_cli *cli, gmv_status status, launch launched, int argc, char **argv)
{
    gmv_run run = {.dry_run = cli->dry_run,
                   .json = cli->json,
                   .file = cli->file,
                   .override = cli->override,
                   .overrides = cli->overrides};
    char *text = NULL;
    gmv_status started = check_addresses();
    started = started == GMV_OK ? check_counts() : started;
    started = started == GMV_OK ? gmv_comm_init(&run.comm, &argc, &argv) : started;
    if (started != GMV_OK) {
        print_error(started);
        return started;
    }
    gmv_log_init(run.comm.rank == 0);
    if (status == GMV_OK) {
        warn_of_independent_copies(&run.comm, launched);
        status = prepare(&run, cli, &text);
        status = status == GMV_OK && gmv_stop_asked()
                     ? GMV_FAIL(GMV_STOPPED, "stopped by a signal before anything was done; run the same command again")
                     : status;
    }
    status = status == GMV_OK ? check_addresses() : status;
    status = gmv_comm_agree(&run.comm, status);
    if (status == GMV_OK) {
        limit_threads(&run.comm);
        status = cli->command->run(&run);
        if (status == GMV_OK && (cli->command->reports || cli->dry_run)) {
            status = gmv_output_check();
        }
        if (status != GMV_OK && run.comm.rank != 0) {
            char message[2048];
            snprintf(message, sizeof message, "[rank %d] %.2000s", run.comm.rank, gmv_error_message());
            gmv_error_set(message);
        }
        status = gmv_comm_agree(&run.comm, status);
    }
    if (status != GMV_OK && run.comm.rank == 0) {
        fflush(stdout);
        print_error(status);
    }
    gmv_log_clear();
    gmv_config_fini(&run.config);
    gmv_free(text);
    gmv_comm_fini(&run.comm);
    return status;
}

int main(int argc, char **argv)
{
    gmv_checker_main(argc, argv, (gmv_checker_readers){gmv_checkpoint_look, gmv_inspect_look});
    gmv_signals_install(); /* a signal before the ranks are connected is kept until they are */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file beyond `ulimit -f` is an error of writing */
    gmv_memory_save_addresses();
    launch launched = read_launch();
    gmv_cli cli;
    gmv_status status = gmv_cli_parse(&cli, argc, argv);
    if (status == GMV_OK && gmv_cli_only_prints(&cli)) {
        /* without MPI: the first task of a launcher speaks, the others have nothing to add */
        status = launched.rank == 0 ? gmv_cli_print(&cli) : GMV_OK;
        if (status != GMV_OK) {
            print_error(status);
        }
    } else if (status != GMV_OK && launched.tasks <= 1) {
        print_error(status);
    } else {
        status = run_ranks(&cli, status, launched, argc, argv);
    }
    gmv_cli_fini(&cli);
    return gmv_exit_code(status);
}
