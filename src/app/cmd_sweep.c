/* sweep: one training after the other, or several at a time on parts of the ranks; then their table. */
#include "sweep_table.h"

#include "gmvae/clock.h"
#include "gmvae/files.h"
#include "gmvae/folder_lock.h"
#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/signals.h"
#include "gmvae/work.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct sweep {
    gmv_run *run;
    gmv_sweep_plan plan;
    gmv_folder_lock *lock;      /* of output.dir, on rank 0 */
    gmv_comm part;              /* the ranks that train a run together with this one */
    bool idle;                  /* too few ranks are left for one more part */
    gmv_trial_outcome *outcome; /* [runs] the same on every rank */
    gmv_trial_outcome *own;     /* [runs] of this part, since they were last exchanged */
    int owned;
    int *pending; /* [runs] to be trained now */
    int n_pending;
    int64_t until; /* epochs that they are trained to, 0: to the end */
    bool stopped;
} sweep;

/* ---- one run ---- */

/* What a run says goes to a file of its own, as several may speak at once. First rank of the part. */
static gmv_status open_log(const gmv_config *config, FILE **log)
{
    char path[GMV_PATH_ROOM];
    GMV_TRY(gmv_make_folders(config->output_dir));
    /* results of before are written again, and must not pass for new ones when this run ends early */
    snprintf(path, sizeof path, "%.4000s/evaluation.json", config->output_dir);
    unlink(path);
    snprintf(path, sizeof path, "%.4000s/train.log", config->output_dir);
    *log = gmv_file_append(path);
    return *log != NULL ? GMV_OK : gmv_file_unwritable(path);
}

static void show_outcome(const sweep *s, const gmv_trial_outcome *o, const gmv_config *config, time_t began)
{
    char what[700];
    double bound = gmv_trial_bound(config, s->until);
    if (o->state == GMV_TRIAL_FAILED) {
        snprintf(what, sizeof what, "failed: %s", o->why);
    } else if (s->until > 0) {
        snprintf(what, sizeof what, "held-out -ELBO %.2f after epoch %" PRId64, bound, s->until);
    } else {
        snprintf(what, sizeof what, "held-out -ELBO %.2f", bound);
    }
    gmv_log_to(stdout); /* also where it is not rank 0 */
    gmv_log("run %d of %d  %s: %s (%.0f s)", o->trial + 1, s->plan.n, s->plan.trial[o->trial].name, what,
            difftime(time(NULL), began));
    gmv_log_to(NULL);
}

/* Trains a run as `train` would. Its failure is its own: it is noted, and the sweep goes on. Collective over the part. */
static void train(sweep *s, int trial)
{
    gmv_run run = {.comm = s->part, .file = s->run->file, .until = s->until};
    gmv_trial_outcome *o = &s->own[s->owned++];
    FILE *log = NULL;
    time_t began = time(NULL);
    bool speaks = s->part.rank == 0;
    gmv_status status = gmv_trial_config(&s->plan, &s->plan.trial[trial], &run.config);
    if (status == GMV_OK && speaks) {
        status = open_log(&run.config, &log);
    }
    status = gmv_comm_agree(&s->part, status);
    if (status == GMV_OK) {
        gmv_log_to(log);
        status = gmv_comm_agree(&s->part, gmv_cmd_train(&run));
        if (status != GMV_OK) {
            gmv_log("gmvae_dist: %s%s", status == GMV_STOPPED ? "" : "error: ", gmv_error_message());
        }
        gmv_log_to(NULL);
    }
    *o = (gmv_trial_outcome){.trial = trial, .state = s->until > 0 ? GMV_TRIAL_WAITING : GMV_TRIAL_DONE};
    if (status == GMV_STOPPED) {
        s->stopped = true;
        o->state = GMV_TRIAL_WAITING;
    } else if (status != GMV_OK) {
        o->state = GMV_TRIAL_FAILED;
        o->status = status;
        snprintf(o->why, sizeof o->why, "%s", gmv_error_message());
    }
    gmv_error_clear();
    if (speaks && status != GMV_STOPPED) {
        show_outcome(s, o, &run.config, began);
    }
    if (log != NULL) {
        fclose(log);
    }
    gmv_config_fini(&run.config);
}

/* ---- many runs ---- */

/* Outcomes of all parts, on every rank. */
static gmv_status exchange(sweep *s)
{
    const gmv_comm *comm = &s->run->comm;
    int64_t mine = s->part.rank == 0 ? (int64_t)s->owned * (int64_t)sizeof *s->own : 0, bytes = 0;
    void *all = NULL;
    int64_t stopped = s->stopped;
    gmv_comm_max_i64(comm, &stopped, 1);
    s->stopped = stopped != 0;
    GMV_TRY(gmv_comm_concatenate(comm, s->own, mine, &all, &bytes));
    for (int64_t i = 0; i < bytes / (int64_t)sizeof *s->own; i++) {
        const gmv_trial_outcome *o = (const gmv_trial_outcome *)all + i;
        s->outcome[o->trial] = *o;
    }
    gmv_free(all);
    s->owned = 0;
    return GMV_OK;
}

/* For the line that is redrawn while a run is trained. `next` runs were begun before, of all parts. */
static void show_place(const sweep *s, int64_t next, double began)
{
    int64_t at_once = s->run->comm.size / s->part.size, done = next < at_once ? 0 : next - at_once + 1;
    char text[64], left[24];
    size_t used = (size_t)snprintf(text, sizeof text, "run %d of %d", s->pending[next] + 1, s->plan.n);
    if (done > 0) {
        double seconds = (gmv_clock() - began) / (double)done * (double)(s->n_pending - done);
        snprintf(text + used, sizeof text - used, " (%s left of all)", gmv_duration(seconds, left, sizeof left));
    }
    gmv_log_prefix(text);
}

/* Trains what is pending: each part takes the next run when it is done with one. Collective. */
static gmv_status train_pending(sweep *s)
{
    const gmv_comm *comm = &s->run->comm;
    double began = gmv_clock();
    gmv_comm_restart_numbers(comm);
    for (bool more = !s->idle; more;) {
        int64_t next = s->n_pending;
        if (s->part.rank == 0 && !gmv_stop_asked()) {
            next = gmv_comm_number();
        } else if (s->part.rank == 0) {
            s->stopped = true;
        }
        gmv_comm_broadcast(&s->part, &next, sizeof next, 0);
        more = next < s->n_pending;
        if (more) {
            show_place(s, next, began);
            train(s, s->pending[next]);
            more = !s->stopped;
        }
    }
    gmv_log_prefix("");
    GMV_TRY(gmv_comm_agree_patiently(comm, GMV_OK)); /* others may still write their checkpoints */
    return exchange(s);
}

/* ---- successive halving ---- */

/* Held-out -ELBO of every run after `epoch`; NaN where it was not trained so far. Collective. */
static gmv_status read_bounds(sweep *s, int64_t epoch, double *bound)
{
    gmv_status status = GMV_OK;
    for (int i = 0; i < s->plan.n && s->run->comm.rank == 0 && status == GMV_OK; i++) {
        gmv_config config;
        status = gmv_trial_config(&s->plan, &s->plan.trial[i], &config);
        bound[i] = status == GMV_OK ? gmv_trial_bound(&config, epoch) : (double)NAN;
        gmv_config_fini(&config);
    }
    GMV_TRY(gmv_comm_agree(&s->run->comm, status));
    gmv_comm_broadcast(&s->run->comm, bound, s->plan.n * (int64_t)sizeof *bound, 0);
    return GMV_OK;
}

/* Mean over the repeats; infinite where one has no bound. */
static double mean_bound(const sweep *s, const double *bound, int combination)
{
    int repeats = s->plan.n / s->plan.combinations;
    double sum = 0.0;
    for (int i = 0; i < repeats; i++) {
        sum += bound[combination * repeats + i];
    }
    return isfinite(sum) ? sum / repeats : (double)INFINITY;
}

/* Whether fewer than `n` of those in the race are better; of equal ones the first is. */
static bool is_among(const sweep *s, const double *bound, const bool *races, int combination, int n)
{
    double own = mean_bound(s, bound, combination);
    int better = 0;
    for (int c = 0; c < s->plan.combinations; c++) {
        double other = mean_bound(s, bound, c);
        better += races[c] && (other < own || (!(other > own) && c < combination));
    }
    return better < n;
}

/* One rung: all in the race are trained to an epoch, the best stay in it. Collective.
 * @param[in,out] left  how many these are */
static gmv_status climb(sweep *s, int64_t epoch, bool *races, bool *stays, double *bound, int *left)
{
    int repeats = s->plan.n / s->plan.combinations, racing = *left;
    GMV_TRY(read_bounds(s, epoch, bound));
    s->n_pending = 0;
    s->until = epoch;
    for (int i = 0; i < s->plan.n; i++) {
        if (races[i / repeats] && s->outcome[i].state == GMV_TRIAL_WAITING && !isfinite(bound[i])) {
            s->pending[s->n_pending++] = i;
        }
    }
    GMV_TRY(train_pending(s));
    GMV_TRY(read_bounds(s, epoch, bound));
    if (s->stopped) {
        return GMV_OK;
    }
    *left = racing / (int)s->run->config.sweep_eta;
    *left = *left > 0 ? *left : 1;
    for (int c = 0; c < s->plan.combinations; c++) {
        stays[c] = races[c] && is_among(s, bound, races, c, *left);
    }
    for (int i = 0; i < s->plan.n; i++) {
        bool drops = races[i / repeats] && !stays[i / repeats];
        if (drops && s->outcome[i].state == GMV_TRIAL_WAITING) {
            s->outcome[i].state = GMV_TRIAL_LEFT;
        }
    }
    memcpy(races, stays, (size_t)s->plan.combinations * sizeof *races);
    gmv_log("epoch %" PRId64 ": %d of %d combinations go on", epoch, *left, racing);
    return GMV_OK;
}

/* The rungs below the last epoch, while there is a choice. Collective. */
static gmv_status halve(sweep *s)
{
    const gmv_config *config = &s->run->config;
    bool *races = NULL, *stays = NULL;
    double *bound = NULL;
    int left = s->plan.combinations;
    gmv_status status = GMV_NEW(races, left, "combinations of a sweep");
    status = status == GMV_OK ? GMV_NEW(stays, left, "combinations of a sweep") : status;
    status = status == GMV_OK ? GMV_NEW(bound, s->plan.n, "bounds of a sweep") : status;
    GMV_GO(gmv_comm_agree(&s->run->comm, status));
    for (int c = 0; c < left; c++) {
        races[c] = true;
    }
    for (int64_t epoch = config->sweep_min_epochs; epoch < config->train_epochs && left > 1 && !s->stopped;
         epoch *= config->sweep_eta) {
        GMV_GO(climb(s, epoch, races, stays, bound, &left));
    }
done:
    gmv_free(races);
    gmv_free(stays);
    gmv_free(bound);
    return status;
}

/* ---- the sweep ---- */

static gmv_status train_all(sweep *s)
{
    if (s->run->config.sweep_method == GMV_METHOD_HALVING) {
        GMV_TRY(halve(s));
    }
    s->n_pending = 0;
    s->until = 0;
    for (int i = 0; i < s->plan.n && !s->stopped; i++) {
        if (s->outcome[i].state == GMV_TRIAL_WAITING) {
            s->pending[s->n_pending++] = i;
        }
    }
    return s->stopped ? GMV_OK : train_pending(s);
}

/* Parts of sweep.ranks_per_run ranks; those that are left over look on. Collective. */
static gmv_status divide(sweep *s)
{
    const gmv_comm *comm = &s->run->comm;
    int each = (int)s->run->config.sweep_ranks_per_run, parts = comm->size / each;
    if (parts == 0) {
        return GMV_FAIL(GMV_ERR_CONFIG,
                        "sweep.ranks_per_run is %d, but there %s only %d rank%s; start with mpirun -np %d", each,
                        comm->size == 1 ? "is" : "are", comm->size, comm->size == 1 ? "" : "s", each);
    }
    s->idle = comm->rank / each >= parts;
    GMV_TRY(gmv_comm_agree(comm, gmv_comm_part(comm, s->idle ? parts : comm->rank / each, &s->part)));
    gmv_log("ranks   %d run%s at a time, on %d rank%s each%s", parts, parts == 1 ? "" : "s", each, each == 1 ? "" : "s",
            comm->size % each != 0 ? "; some ranks are left over, and idle" : "");
    return GMV_OK;
}

static void show_plan(const sweep *s)
{
    const gmv_config *config = &s->run->config;
    int done = 0;
    for (int i = 0; i < s->plan.n; i++) {
        done += s->plan.trial[i].done;
    }
    gmv_log("sweep   %d run%s in %s: %d combination%s, %" PRId64 " repeat%s of each; %d done before", s->plan.n,
            s->plan.n == 1 ? "" : "s", config->output_dir, s->plan.combinations, s->plan.combinations == 1 ? "" : "s",
            config->sweep_repeats, config->sweep_repeats == 1 ? "" : "s", done);
}

/* All runs, and whether the first could be trained: cells and memory are looked at as it sees them. Collective. */
static gmv_status show_dry_run(sweep *s)
{
    for (int i = 0; i < s->plan.n; i++) {
        gmv_log("run %-4d %s%s", i + 1, s->plan.trial[i].name, s->plan.trial[i].done ? "  (done)" : "");
    }
    gmv_log("shared  nothing: each run reads its cells anew, as which are held out depends on its seed; of the first:");
    gmv_run first = {.comm = s->part, .dry_run = true, .file = s->run->file};
    gmv_status status = GMV_OK;
    if (!s->idle && s->run->comm.rank < s->part.size) {
        status = gmv_trial_config(&s->plan, &s->plan.trial[0], &first.config);
        status = gmv_comm_agree(&s->part, status);
        status = status == GMV_OK ? gmv_cmd_train(&first) : status;
        gmv_config_fini(&first.config);
    }
    return gmv_comm_agree(&s->run->comm, status);
}

/* On rank 0. */
static gmv_status open_folder(sweep *s)
{
    const char *folder = s->run->config.output_dir;
    char nearest[GMV_PATH_ROOM];
    GMV_TRY(gmv_folder_check(folder, "output.dir", nearest));
    if (s->run->dry_run) {
        return gmv_folder_lock_check(folder, GMV_LOCK_TIMES, gmv_signal_seen);
    }
    GMV_TRY(gmv_make_folders(folder));
    GMV_TRY(gmv_folder_lock_take(&s->lock, folder, "sweep", GMV_LOCK_TIMES, gmv_signal_seen));
    gmv_output_clean(folder, NULL);
    return GMV_OK;
}

/* What there is to do, and where. Collective. */
static gmv_status prepare(sweep *s)
{
    const gmv_comm *comm = &s->run->comm;
    gmv_status status = gmv_comm_agree(comm, gmv_sweep_plan_make(&s->plan, s->run));
    GMV_TRY(status);
    status = comm->rank == 0 ? gmv_sweep_plan_check(&s->plan) : GMV_OK;
    status = status == GMV_OK && comm->rank == 0 ? open_folder(s) : status;
    status = status == GMV_OK ? GMV_NEW(s->outcome, s->plan.n, "outcomes of runs") : status;
    status = status == GMV_OK ? GMV_NEW(s->own, s->plan.n, "outcomes of runs") : status;
    status = status == GMV_OK ? GMV_NEW(s->pending, s->plan.n, "runs to be trained") : status;
    GMV_TRY(gmv_comm_agree(comm, status));
    for (int i = 0; i < s->plan.n; i++) {
        gmv_comm_broadcast(comm, &s->plan.trial[i].done, sizeof(bool), 0);
        s->outcome[i] =
            (gmv_trial_outcome){.trial = i, .state = s->plan.trial[i].done ? GMV_TRIAL_DONE : GMV_TRIAL_WAITING};
    }
    show_plan(s);
    return divide(s);
}

/* How the sweep ends. */
static gmv_status judge(const sweep *s)
{
    const gmv_trial_outcome *first = NULL;
    int failed = 0, done = 0;
    for (int i = 0; i < s->plan.n; i++) {
        gmv_trial_state state = s->outcome[i].state;
        done += state == GMV_TRIAL_DONE || state == GMV_TRIAL_LEFT;
        if (state == GMV_TRIAL_FAILED) {
            first = failed++ == 0 ? &s->outcome[i] : first;
        }
    }
    if (s->stopped && done + failed < s->plan.n) { /* else it came when there was nothing left to do */
        return GMV_FAIL(GMV_STOPPED,
                        "stopped by a signal: %d of %d runs are done; run the same command again to continue", done,
                        s->plan.n);
    }
    if (failed == 0) {
        return GMV_OK;
    }
    return GMV_FAIL(first->status,
                    "%d of %d runs failed, first %.200s: %s; the others are done, and %s/sweep.md has all", failed,
                    s->plan.n, s->plan.trial[first->trial].name, first->why, s->run->config.output_dir);
}

static gmv_status run_sweep(sweep *s)
{
    const gmv_comm *comm = &s->run->comm;
    GMV_TRY(prepare(s));
    if (s->run->dry_run) {
        return show_dry_run(s);
    }
    GMV_TRY(train_all(s));
    gmv_status status = comm->rank == 0 ? gmv_sweep_table_write(&s->plan, s->outcome) : GMV_OK;
    GMV_TRY(gmv_comm_agree(comm, status));
    gmv_log("wrote %s: sweep.md, sweep.csv, sweep.json, sweep.svg, sweep.png", s->run->config.output_dir);
    return judge(s);
}

gmv_status gmv_cmd_sweep(gmv_run *run)
{
    sweep s = {.run = run};
    gmv_status status = run_sweep(&s);
    if (s.part.world != NULL) {
        gmv_comm_part_fini(&s.part);
    }
    gmv_folder_lock_release(&s.lock);
    gmv_sweep_plan_fini(&s.plan);
    gmv_free(s.outcome);
    gmv_free(s.own);
    gmv_free(s.pending);
    return status;
}
