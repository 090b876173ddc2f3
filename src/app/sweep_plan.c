#include "sweep_plan.h"

#include "session.h"

#include "gmvae/files.h"
#include "gmvae/mem.h"
#include "gmvae/rng.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { most_runs = 10000, name_room = 200, text_room = 1024, most_draws = 1000 /* for one that is new */ };

static const int64_t most_seed = 9007199254740991; /* as the config has it */

static const gmv_over *over_of(const gmv_sweep_plan *plan)
{
    return &plan->run->config.sweep_over;
}

/* ---- combinations ---- */

/* How many there are; -1: without end, or beyond counting. */
static int64_t count_all(const gmv_over *over)
{
    int64_t n = 1;
    for (int a = 0; a < over->n; a++) {
        if (over->at[a].values.n == 0 || n > INT32_MAX) {
            return -1;
        }
        n *= over->at[a].values.n;
    }
    return n;
}

/* The last key changes first. */
static gmv_status take_from_grid(const gmv_over *over, int64_t index, char **value)
{
    for (int a = over->n - 1; a >= 0; a--) {
        const gmv_texts *values = &over->at[a].values;
        GMV_TRY(gmv_copy_text(&value[a], values->at[index % values->n]));
        index /= values->n;
    }
    return GMV_OK;
}

/* A value of a range, at a place in it between 0 and 1. */
static gmv_status take_from_range(const gmv_axis *axis, double place, char **value)
{
    char text[40];
    double above = axis->whole ? 1.0 : 0.0; /* of integers the last one has its share, too */
    double drawn = axis->log ? axis->min * pow((axis->max + above) / axis->min, place)
                             : axis->min + (axis->max + above - axis->min) * place;
    if (axis->whole) {
        snprintf(text, sizeof text, "%" PRId64, (int64_t)fmin(floor(drawn), axis->max));
    } else {
        snprintf(text, sizeof text, "%.4g", drawn);
        double rounded = strtod(text, NULL);
        if (rounded < axis->min || rounded > axis->max) {
            snprintf(text, sizeof text, "%.17g", drawn);
        }
    }
    return gmv_copy_text(value, text);
}

/* Draw number `attempt` of the seed. */
static gmv_status draw(const gmv_over *over, uint64_t seed, int64_t attempt, char **value)
{
    for (int a = 0; a < over->n; a++) {
        const gmv_axis *axis = &over->at[a];
        gmv_philox word = gmv_random_block(seed, GMV_STREAM_SWEEP, 0, attempt, (uint32_t)a, 0);
        double place = ((double)word.word[0] + (double)word.word[1] * 0x1p-32) * 0x1p-32;
        GMV_TRY(axis->values.n == 0 ? take_from_range(axis, place, &value[a])
                                    : gmv_copy_text(&value[a], axis->values.at[(int)(place * axis->values.n)]));
    }
    return GMV_OK;
}

static bool is_new(const gmv_sweep_plan *plan, char *const *value)
{
    int axes = over_of(plan)->n;
    for (int c = 0; c < plan->combinations; c++) {
        bool same = true;
        for (int a = 0; a < axes; a++) {
            same = same && strcmp(plan->value[c][a], value[a]) == 0;
        }
        if (same) {
            return false;
        }
    }
    return true;
}

static void free_values(char **value, int axes)
{
    for (int a = 0; value != NULL && a < axes; a++) {
        GMV_FREE(value[a]);
    }
}

static gmv_status draw_all(gmv_sweep_plan *plan, int n)
{
    const gmv_config *config = &plan->run->config;
    const gmv_over *over = over_of(plan);
    int64_t attempt = 0;
    while (plan->combinations < n) {
        char **value = NULL;
        GMV_TRY(GMV_NEW(value, over->n, "values of a run"));
        gmv_status status = GMV_OK;
        bool found = false;
        for (int i = 0; i < most_draws && status == GMV_OK && !found; i++) {
            free_values(value, over->n);
            status = draw(over, (uint64_t)config->seed, attempt++, value);
            found = status == GMV_OK && is_new(plan, value);
        }
        if (!found) {
            free_values(value, over->n);
            gmv_free(value);
            GMV_TRY(status);
            return GMV_FAIL(GMV_ERR_CONFIG, "sweep.runs: only %d different combinations were found, not %d; lower it",
                            plan->combinations, n);
        }
        plan->value[plan->combinations++] = value;
    }
    return GMV_OK;
}

static gmv_status list_combinations(gmv_sweep_plan *plan)
{
    const gmv_config *config = &plan->run->config;
    const gmv_over *over = over_of(plan);
    int64_t all = count_all(over), n = config->sweep_runs > 0 ? config->sweep_runs : all;
    if (over->n == 0) {
        return GMV_FAIL(GMV_ERR_CONFIG, "sweep.over is empty; name keys with their values, such as sweep: {over: "
                                        "{model.clusters: [10, 20]}}");
    }
    if (config->sweep_method == GMV_METHOD_RANDOM && config->sweep_runs == 0) {
        return GMV_FAIL(GMV_ERR_CONFIG, "sweep.method: random draws sweep.runs combinations, which is 0; set it");
    }
    if (config->sweep_method == GMV_METHOD_GRID && config->sweep_runs > 0) {
        return GMV_FAIL(GMV_ERR_CONFIG, "sweep.runs is for draws, but sweep.method is grid, all combinations; take "
                                        "random, or remove it");
    }
    if (n < 0) {
        return GMV_FAIL(GMV_ERR_CONFIG,
                        "sweep.over: a range, {min: ..., max: ...}, has no end of values; list some, or "
                        "set sweep.runs and sweep.method: random");
    }
    if (all >= 0 && n > all) {
        return GMV_FAIL(
            GMV_ERR_CONFIG,
            "sweep.runs: there are only %" PRId64 " combinations, not %" PRId64 "; lower it, or take the grid", all, n);
    }
    if (n * config->sweep_repeats > most_runs) {
        return GMV_FAIL(GMV_ERR_CONFIG, "the sweep has %" PRId64 " runs; %d are the most", n * config->sweep_repeats,
                        (int)most_runs);
    }
    GMV_TRY(GMV_NEW(plan->value, n, "values of a sweep"));
    if (config->sweep_runs > 0) {
        return draw_all(plan, (int)n);
    }
    while (plan->combinations < n) {
        char ***value = &plan->value[plan->combinations];
        GMV_TRY(GMV_NEW(*value, over->n, "values of a run"));
        GMV_TRY(take_from_grid(over, plan->combinations++, *value));
    }
    return GMV_OK;
}

/* ---- names ---- */

static const char *last_part(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot != NULL ? dot + 1 : path;
}

const char *gmv_axis_name(const gmv_over *over, int axis)
{
    const char *name = last_part(over->at[axis].path);
    for (int a = 0; a < over->n; a++) {
        if (a != axis && strcmp(last_part(over->at[a].path), name) == 0) {
            return over->at[axis].path;
        }
    }
    return name;
}

const char *gmv_combination_text(const gmv_sweep_plan *plan, int combination, char *text, size_t size)
{
    const gmv_over *over = over_of(plan);
    size_t used = 0;
    text[0] = '\0';
    for (int a = 0; a < over->n && used < size; a++) {
        used += (size_t)snprintf(text + used, size - used, "%s%s=%s", a > 0 ? ", " : "", gmv_axis_name(over, a),
                                 plan->value[combination][a]);
    }
    return text;
}

/* Letters, digits and what else is harmless in a file's name stay; a run of others is one dash: "[100, 250]" is 100-250. */
static void put_harmless(char *name, const char *text)
{
    static const char harmless[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-";
    size_t used = strlen(name), begin = used;
    for (; *text != '\0' && used + 1 < name_room; text++) {
        bool stays = strchr(harmless, *text) != NULL;
        if (stays || (used > begin && name[used - 1] != '-')) {
            name[used++] = stays ? *text : '-';
        }
    }
    used -= used > begin && name[used - 1] == '-';
    name[used] = '\0';
}

static uint32_t hash_of(const char *text)
{
    uint32_t sum = 2166136261u; /* FNV-1a */
    for (; *text != '\0'; text++) {
        sum = (sum ^ (unsigned char)*text) * 16777619u;
    }
    return sum;
}

/* Says the values, so that a run is found again when the sweep has grown. What does not fit, or is another's name, too, is
 * told apart by a hash. */
static gmv_status name_trial(gmv_sweep_plan *plan, gmv_trial *trial)
{
    const gmv_over *over = over_of(plan);
    char name[name_room + 64] = "", all[text_room], seed[32] = "";
    bool seeds = true;
    for (int a = 0; a < over->n; a++) {
        size_t used = strlen(name);
        snprintf(name + used, name_room - used, "%s%s=", a > 0 ? "," : "", gmv_axis_name(over, a));
        put_harmless(name, plan->value[trial->combination][a]);
        seeds = seeds && strcmp(over->at[a].path, "seed") != 0;
    }
    if (seeds) {
        snprintf(seed, sizeof seed, ",seed=%" PRId64, plan->run->config.seed + trial->repeat);
    }
    bool hashed = strlen(name) > name_room - 40;
    for (int pass = 0; pass < 2; pass++) {
        char whole[name_room + 64];
        snprintf(whole, sizeof whole, "%.*s", hashed ? name_room - 40 : name_room, name);
        if (hashed) {
            size_t used = strlen(whole);
            gmv_combination_text(plan, trial->combination, all, sizeof all);
            snprintf(whole + used, sizeof whole - used, ",%08" PRIx32, hash_of(all));
        }
        strncat(whole, seed, sizeof whole - strlen(whole) - 1);
        bool taken = false;
        for (const gmv_trial *other = plan->trial; other < trial; other++) {
            taken = taken || strcmp(other->name, whole) == 0;
        }
        if (!taken || pass == 1) {
            return gmv_copy_text(&trial->name, whole);
        }
        hashed = true;
    }
    return GMV_OK;
}

static gmv_status list_trials(gmv_sweep_plan *plan)
{
    const gmv_config *config = &plan->run->config;
    GMV_TRY(list_combinations(plan));
    for (int a = 0; a < config->sweep_over.n; a++) {
        const char *path = config->sweep_over.at[a].path;
        if (strcmp(path, "seed") == 0 && config->sweep_repeats > 1) {
            return GMV_FAIL(GMV_ERR_CONFIG, "sweep.over has seed, and sweep.repeats sets seeds, too; keep one");
        }
        if (strncmp(path, "train.epochs", 12) == 0 && config->sweep_method == GMV_METHOD_HALVING) {
            return GMV_FAIL(GMV_ERR_CONFIG, "sweep.over has train.epochs, which sweep.method: halving sets; keep one");
        }
    }
    int n = plan->combinations * (int)config->sweep_repeats;
    GMV_TRY(GMV_NEW(plan->trial, n, "runs of a sweep"));
    for (int i = 0; i < n; i++) {
        plan->n++;
        plan->trial[i].combination = i / (int)config->sweep_repeats;
        plan->trial[i].repeat = i % config->sweep_repeats;
        GMV_TRY(name_trial(plan, &plan->trial[i]));
    }
    return GMV_OK;
}

gmv_status gmv_sweep_plan_make(gmv_sweep_plan *plan, const gmv_run *run)
{
    *plan = (gmv_sweep_plan){.run = run};
    gmv_status status = list_trials(plan);
    if (status != GMV_OK) {
        char message[2048];
        snprintf(message, sizeof message, "%.500s: %.1500s", run->file, gmv_error_message());
        gmv_error_set(message);
    }
    return status;
}

void gmv_sweep_plan_fini(gmv_sweep_plan *plan)
{
    for (int i = 0; i < plan->n; i++) {
        gmv_free(plan->trial[i].name);
    }
    for (int c = 0; c < plan->combinations; c++) {
        free_values(plan->value[c], over_of(plan)->n);
        gmv_free(plan->value[c]);
    }
    gmv_free(plan->value);
    gmv_free(plan->trial);
    *plan = (gmv_sweep_plan){.run = plan->run};
}

/* ---- configs ---- */

/* Puts the run before the message. */
static gmv_status name_run(const gmv_sweep_plan *plan, const gmv_trial *trial, gmv_status status)
{
    if (status != GMV_OK) {
        char message[2048];
        snprintf(message, sizeof message, "%.500s: run %.200s: %.1300s", plan->run->file, trial->name,
                 gmv_error_message());
        gmv_error_set(message);
    }
    return status;
}

/* KEY=VALUE of the command line and, behind them, of the run. */
static gmv_status list_overrides(const gmv_sweep_plan *plan, const gmv_trial *trial, char **list)
{
    const gmv_over *over = over_of(plan);
    int given = plan->run->overrides;
    for (int i = 0; i < given; i++) {
        GMV_TRY(gmv_copy_text(&list[i], plan->run->override[i]));
    }
    for (int a = 0; a < over->n; a++) {
        const char *path = over->at[a].path, *value = plan->value[trial->combination][a];
        size_t size = strlen(path) + strlen(value) + 2;
        GMV_TRY(GMV_NEW(list[given + a], size, "a setting"));
        snprintf(list[given + a], size, "%s=%s", path, value);
    }
    return GMV_OK;
}

/* What the sweep gives a run besides values. */
static gmv_status settle(const gmv_sweep_plan *plan, const gmv_trial *trial, gmv_config *config)
{
    char path[GMV_PATH_ROOM];
    GMV_TRY(gmv_config_reset(config, "sweep."));
    GMV_TRY(gmv_config_expand_paths(config));
    snprintf(path, sizeof path, "%.3900s/%.250s", plan->run->config.output_dir, trial->name);
    GMV_FREE(config->output_dir);
    GMV_TRY(gmv_copy_text(&config->output_dir, path));
    config->seed += trial->repeat;
    config->output_markers = config->output_report = false; /* commands make them of the runs that are worth it */
    return config->seed <= most_seed ? GMV_OK
                                     : GMV_FAIL(GMV_ERR_CONFIG,
                                                "seed %" PRId64 " is out of range; lower seed or "
                                                "sweep.repeats",
                                                config->seed);
}

gmv_status gmv_trial_config(const gmv_sweep_plan *plan, const gmv_trial *trial, gmv_config *config)
{
    const gmv_run *run = plan->run;
    int n = run->overrides + over_of(plan)->n;
    char **list = NULL;
    memset(config, 0, sizeof *config);
    gmv_status status;
    GMV_GO(GMV_NEW(list, n, "settings of a run"));
    GMV_GO(list_overrides(plan, trial, list));
    GMV_GO(gmv_config_parse(config, run->file, run->text, (int64_t)strlen(run->text), n, (const char *const *)list));
    GMV_GO(settle(plan, trial, config));
done:
    free_values(list, list != NULL ? n : 0);
    gmv_free(list);
    return status;
}

/* ---- what is there ---- */

static bool is_there(const gmv_config *config, const char *name, char *path)
{
    snprintf(path, GMV_PATH_ROOM, "%.4000s/%.100s", config->output_dir, name);
    return access(path, F_OK) == 0;
}

/* A folder of that name must be of this run. What it holds counts as results only where nothing differs that they
 * depend on. */
static gmv_status look_at_folder(const gmv_config *config, gmv_trial *trial)
{
    char path[GMV_PATH_ROOM], *text = NULL, *differences = NULL, joined[1024];
    int64_t length = 0;
    gmv_config theirs;
    trial->done = false;
    if (!is_there(config, "config.resolved.yaml", path)) {
        return GMV_OK;
    }
    GMV_TRY(gmv_config_read_file(path, &text, &length));
    gmv_status status = gmv_config_parse(&theirs, path, text, length, 0, NULL);
    gmv_free(text);
    GMV_TRY(status);
    GMV_GO(gmv_config_trained_differences(&theirs, config, &differences));
    gmv_join_lines(differences, joined, sizeof joined);
    if (joined[0] != '\0') {
        status =
            GMV_FAIL(GMV_ERR_CONFIG,
                     "%s is there, of a run with other settings (%s); set another output.dir, or remove that folder",
                     config->output_dir, joined);
        goto done;
    }
    GMV_FREE(differences);
    GMV_GO(gmv_config_result_differences(&theirs, config, &differences));
    trial->done = differences[0] == '\0' && is_there(config, "evaluation.json", path);
done:
    GMV_FREE(differences);
    gmv_config_fini(&theirs);
    return status;
}

static gmv_status check_trial(const gmv_sweep_plan *plan, gmv_trial *trial)
{
    gmv_config config;
    gmv_status status;
    status = gmv_trial_config(plan, trial, &config);
    status = status == GMV_OK ? gmv_config_check(&config) : status;
    status = status == GMV_OK ? gmv_config_check_trains(&config) : status;
    if (status == GMV_OK && !gmv_validation_splits(&config.data_validation) && config.data_validation.paths.n == 0) {
        status =
            GMV_FAIL(GMV_ERR_CONFIG, "data.validation holds no cells out, by which runs could be compared; set it, "
                                     "such as data.validation=0.1");
    }
    status = name_run(plan, trial, status);
    status = status == GMV_OK ? look_at_folder(&config, trial) : status;
    gmv_config_fini(&config);
    return status;
}

gmv_status gmv_sweep_plan_check(gmv_sweep_plan *plan)
{
    for (int i = 0; i < plan->n; i++) {
        GMV_TRY(check_trial(plan, &plan->trial[i]));
    }
    return GMV_OK;
}
