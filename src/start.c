/* What libraries take from the environment while they are loaded, set before they are.
 *
 * libgomp threads that wait spin some 300,000 turns, at about forty barriers a step: beside one busy process a step
 * takes several times as long (docs/performance.md). OpenBLAS starts a thread for each core, with 128 MB of addresses, none of which is used.
 * Both are settled by variables that the libraries read in their constructors, so the program starts itself once more
 * with them. That happens before any constructor has run: the libraries have done nothing yet. */
#include <elf.h>
#include <stddef.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

enum { most_variables = 8192 };

static char turns[] = "GOMP_SPINCOUNT=1000", no_threads[] = "OPENBLAS_NUM_THREADS=1";

static const char *value_of(char **environment, const char *name)
{
    size_t length = strlen(name);
    for (; *environment != NULL; environment++) {
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=') {
            return *environment + length + 1;
        }
    }
    return NULL;
}

/* Started by the loader's own name, there is no program to start again; valgrind would lose sight of it. */
static int can_start_again(char **environment)
{
    const char *preloaded = value_of(environment, "LD_PRELOAD");
    return getauxval(AT_BASE) != 0 && getauxval(AT_SECURE) == 0 && getauxval(AT_EXECFN) != 0 &&
           (preloaded == NULL || strstr(preloaded, "vgpreload") == NULL);
}

/* Whatever fails here, the program runs as well, only slower beside others. */
static void start_again(int argc, char **argv, char **environment)
{
    static char *variable[most_variables + 3];
    size_t n = 0, added = 0;
    (void)argc;
    if (value_of(environment, "GOMP_SPINCOUNT") == NULL && value_of(environment, "OMP_WAIT_POLICY") == NULL) {
        variable[added++] = turns;
    }
    if (value_of(environment, "OPENBLAS_NUM_THREADS") == NULL) {
        variable[added++] = no_threads;
    }
    while (environment[n] != NULL) {
        n++;
    }
    if (added == 0 || n > most_variables || !can_start_again(environment)) {
        return;
    }
    memcpy(variable + added, environment, (n + 1) * sizeof *variable);
    execve((const char *)getauxval(AT_EXECFN), argv, variable); /* its name, not /proc/self/exe: ps shows it */
}

__attribute__((section(".preinit_array"), used)) static void (*const before_all)(int, char **, char **) = start_again;
