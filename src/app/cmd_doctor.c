/* What this machine and this allocation offer. Reports only what was looked up here and now. */
#include "gmvae/app.h"
#include "gmvae/backend.h"
#include "gmvae/leiden.h"
#include "gmvae/log.h"
#include "gmvae/mem.h"

#include "cli.h"
#include "hardware.h"

#include "../data/h5/h5.h"
#include "../data/h5/h5_filters.h"

#include <cblas.h>
#include <hdf5.h>
#include <inttypes.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct rank_facts {
    char host[64];
    int cores;      /* of this rank */
    int host_cores; /* online on the host */
    int64_t total;  /* bytes of memory of the host */
    int64_t available;
    int64_t limit;    /* bytes the container allows, 0 for no limit */
    double cpu_limit; /* cores' worth of time the container allows, 0 for no limit */
} rank_facts;

static void look_around(const gmv_comm *comm, rank_facts *facts)
{
    char line[256];
    memset(facts, 0, sizeof *facts);
    if (gethostname(facts->host, sizeof facts->host - 1) != 0) {
        snprintf(facts->host, sizeof facts->host, "unknown host");
    }
    facts->cores = comm->cores;
    facts->host_cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
    facts->total = gmv_meminfo_bytes("MemTotal");
    facts->available = gmv_meminfo_bytes("MemAvailable");
    gmv_read_line("/sys/fs/cgroup/memory.max", line, sizeof line); /* a number or "max" */
    facts->limit = strtoll(line, NULL, 10);
    gmv_read_line("/sys/fs/cgroup/cpu.max", line, sizeof line); /* "QUOTA PERIOD", QUOTA may be "max" */
    char *period = NULL;
    double quota = strtod(line, &period);
    double length = quota > 0 ? strtod(period, NULL) : 0;
    facts->cpu_limit = length > 0 ? quota / length : 0;
}

static bool first_on_host(const rank_facts *all, int rank)
{
    for (int i = 0; i < rank; i++) {
        if (strcmp(all[i].host, all[rank].host) == 0) {
            return false;
        }
    }
    return true;
}

static void report_hosts(const gmv_comm *comm, const rank_facts *all)
{
    int hosts = 0;
    for (int i = 0; i < comm->size; i++) {
        hosts += first_on_host(all, i);
    }
    gmv_log("ranks        %d on %d host%s", comm->size, hosts, hosts == 1 ? "" : "s");
    for (int i = 0; i < comm->size; i++) {
        if (!first_on_host(all, i)) {
            continue;
        }
        int ranks = 0;
        for (int j = i; j < comm->size; j++) {
            ranks += strcmp(all[j].host, all[i].host) == 0;
        }
        const double gib = 1024.0 * 1024.0 * 1024.0;
        gmv_log("  %s: %d rank%s, %d of %d cores for each, memory %.1f GiB, %.1f GiB available", all[i].host, ranks,
                ranks == 1 ? "" : "s", all[i].cores, all[i].host_cores, (double)all[i].total / gib,
                (double)all[i].available / gib);
        if (all[i].limit > 0) {
            gmv_log("  %s: the container limits memory to %.1f GiB", all[i].host, (double)all[i].limit / gib);
        }
        if (all[i].cpu_limit > 0) {
            gmv_log("  %s: the container limits computing time to %.1f cores", all[i].host, all[i].cpu_limit);
        }
        if (ranks * all[i].cores > all[i].host_cores) {
            gmv_log("  %s: more threads than cores; start fewer ranks or set runtime.threads", all[i].host);
        }
    }
}

/* The highest x86-64 level this processor runs; the kernels are built for some of them. */
static const char *processor_level(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    bool v2 = __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt");
    bool v3 = v2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
              __builtin_cpu_supports("bmi2");
    bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
              __builtin_cpu_supports("avx512vl");
    return v4 ? "x86-64-v4 (AVX-512)" : v3 ? "x86-64-v3 (AVX2)" : v2 ? "x86-64-v2 (SSE4.2)" : "x86-64";
#else
    return "not an x86-64 processor";
#endif
}

static void report_processor(void)
{
    char model[256];
    gmv_processor_name(model, sizeof model);
    gmv_log("processor    %s%s%s; kernels are built for"
#define GMV_CPU_VARIANT(id, name) " " name
#include "cpu_variants.def"
#undef GMV_CPU_VARIANT
            ,
            model, model[0] != '\0' ? ", " : "", processor_level());
    gmv_log("OpenBLAS     %s, core %s, %d threads", openblas_get_config(), openblas_get_corename(),
            openblas_get_num_threads());
}

static const char *thread_level_name(int level)
{
    return level == MPI_THREAD_MULTIPLE     ? "MULTIPLE"
           : level == MPI_THREAD_SERIALIZED ? "SERIALIZED"
           : level == MPI_THREAD_FUNNELED   ? "FUNNELED (enough: only the main thread calls MPI)"
                                            : "SINGLE";
}

static void report_mpi(void)
{
    char version[256];
    int level = 0;
    gmv_version_mpi(version, sizeof version);
    MPI_Query_thread(&level);
    gmv_log("MPI          %s, thread level %s", version, thread_level_name(level));
}

/* Some filters are compiled into HDF5, others are plug-ins that HDF5 looks for when asked. */
static void report_filters(void)
{
    int n = 0;
    const gmv_h5_filter *filter = gmv_h5_filters(&n);
    gmv_h5_prepare();
    for (int i = 0; i < n; i++) {
        char remedy[300];
        bool there = H5Zfilter_avail(filter[i].id) > 0;
        gmv_h5_filter_remedy(filter[i].id, remedy, sizeof remedy);
        gmv_log("  %-10s %s%s", filter[i].name, there ? "there" : "missing: ", there ? "" : remedy);
    }
}

static void report_hdf5(void)
{
    unsigned major = 0, minor = 0, release = 0;
    H5get_libversion(&major, &minor, &release);
#ifdef H5_HAVE_PARALLEL
    const char *parallel = "parallel (MPI-IO)";
#else
    const char *parallel = "serial: data.driver: mpio is not possible; use an HDF5 built with MPI";
#endif
    const char *plugins = getenv("HDF5_PLUGIN_PATH");
    gmv_log("HDF5         %u.%u.%u, %s; HDF5_PLUGIN_PATH %s; filters:", major, minor, release, parallel,
            plugins != NULL ? plugins : "is not set");
    report_filters();
}

static void report_gpu(void)
{
    char driver[256];
    gmv_read_line("/proc/driver/nvidia/version", driver, sizeof driver);
    gmv_log("GPU driver   %s", driver[0] != '\0' ? driver : "no NVIDIA driver on this host");
    char text[1024];
    bool usable = gmv_backend_find_gpu(text, sizeof text);
    gmv_log("CUDA         %s%s", usable ? "" : "not usable, backend: auto computes on the CPU: ", text);
    gmv_log("NCCL         %s", usable ? "sums gradients over ranks when each has a GPU of its own"
                                      : "not used: gradients are summed through MPI");
}

static void report_leiden(void)
{
    const gmv_leiden *leiden = NULL;
    bool there = gmv_leiden_load(&leiden) == GMV_OK;
    gmv_log("Leiden       %s", there ? leiden->library : gmv_error_message());
    gmv_error_clear();
}

static void report_launcher(void)
{
    const char *job = getenv("SLURM_JOB_ID"), *tasks = getenv("SLURM_NTASKS");
    if (job != NULL) {
        gmv_log("SLURM        job %s, %s task%s", job, tasks != NULL ? tasks : "unknown",
                tasks != NULL && strcmp(tasks, "1") == 0 ? "" : "s");
    } else {
        gmv_log("SLURM        not in a job");
    }
}

gmv_status gmv_cmd_doctor(gmv_run *run)
{
    const gmv_comm *comm = &run->comm;
    rank_facts mine, *all = NULL;
    look_around(comm, &mine);
    gmv_status status = GMV_NEW(all, comm->size, "what the ranks report");
    GMV_GO(gmv_comm_agree(comm, status));
    gmv_comm_allgather(comm, &mine, all, sizeof mine);
    if (comm->rank == 0) {
        gmv_log("gmvae_dist   %s", GMVAE_VERSION);
        report_hosts(comm, all);
        report_processor();
        report_mpi();
        report_launcher();
        report_hdf5();
        report_gpu();
        report_leiden();
    }
done:
    gmv_free(all);
    return status;
}
