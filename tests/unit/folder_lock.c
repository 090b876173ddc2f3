/* The lock of a folder: who is let in, who is not, and that of several that find a stale one a single one gets it. */
#include "harness.h"

#include "../../src/core/lock_record.h"

#include "gmvae/folder_lock.h"
#include "gmvae/log.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const gmv_lock_times quick = {0.01, 0.1}, patient = {0.01, 30.0};
static const char folder[] = "lock-test", path[] = "lock-test/run.lock";

/* Asked only where a holder has to be watched. */
static bool watched(void)
{
    return true;
}

static int wait_ms(long ms)
{
    return nanosleep(&(struct timespec){0, ms * 1000000}, NULL);
}

static int set_up(void **state)
{
    (void)state;
    gmv_log_init(false);
    gmv_error_clear();
    return mkdir(folder, 0777);
}

static int tear_down(void **state)
{
    (void)state;
    return system("rm -r lock-test");
}

static void put(const char *name, const gmv_lock_record *record)
{
    int fd = open(name, O_RDWR | O_CREAT, 0666);
    assert_true(fd >= 0 && gmv_lock_write(fd, record));
    close(fd);
}

static gmv_lock_record own_record(void)
{
    gmv_lock_record record;
    assert_int_equal(gmv_lock_describe(&record, "train"), GMV_OK);
    return record;
}

/* A process that does not outlive this one, nor a fault. */
static pid_t start_holder(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(20);
    }
    return pid;
}

/* A process of this host that is gone. */
static int64_t gone(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    return (int64_t)pid;
}

static void refused(const char *words)
{
    gmv_folder_lock *lock;
    assert_int_equal(gmv_folder_lock_take(&lock, folder, "train", quick, NULL), GMV_ERR_ENVIRONMENT);
    assert_null(lock);
    assert_non_null(strstr(gmv_error_message(), words));
    gmv_error_clear();
    assert_int_equal(gmv_folder_lock_check(folder, quick, NULL), GMV_ERR_ENVIRONMENT);
    gmv_error_clear();
}

/* `stop` tells whether it may have to be watched. */
static void taken(bool (*stop)(void))
{
    gmv_folder_lock *lock;
    assert_int_equal(gmv_folder_lock_check(folder, quick, stop), GMV_OK);
    assert_int_equal(gmv_folder_lock_take(&lock, folder, "train", quick, stop), GMV_OK);
    gmv_folder_lock_release(&lock);
    assert_null(lock);
    assert_int_equal(access(path, F_OK), -1);
}

static void one_at_a_time(void **state)
{
    (void)state;
    gmv_folder_lock *lock;
    setenv("SLURM_JOB_ID", "77\033[1m", 1);
    assert_int_equal(gmv_folder_lock_take(&lock, folder, "train", quick, watched), GMV_OK);
    char words[100];
    snprintf(words, sizeof words, "process %ld, job 77?[1m, since 2", (long)getpid());
    refused(words);
    gmv_folder_lock_release(&lock);
    unsetenv("SLURM_JOB_ID");
    taken(watched);
}

static void what_is_gone_here_is_taken_at_once(void **state)
{
    (void)state;
    gmv_lock_record record = own_record();
    record.pid = gone();
    put(path, &record);
    taken(watched);
    record = own_record(); /* another process has its number */
    record.started--;
    put(path, &record);
    taken(watched);
    pid_t zombie = fork();
    if (zombie == 0) {
        _exit(0);
    }
    siginfo_t ended;
    waitid(P_PID, (id_t)zombie, &ended, WEXITED | WNOWAIT);
    record.pid = (int64_t)zombie;
    put(path, &record);
    taken(watched);
    waitpid(zombie, NULL, 0);
    record = own_record();
    if (record.space == 0xEFFFFFFC && strncmp(record.host, "localhost", 9) != 0) {
        record.boot[0] = record.boot[0] == 'x' ? 'y' : 'x'; /* the host has started anew */
        put(path, &record);
        taken(watched);
    }
}

static void elsewhere_it_is_watched(void **state)
{
    (void)state;
    gmv_folder_lock *lock;
    for (int i = 0; i < 3; i++) {
        gmv_lock_record record = own_record();
        snprintf(record.boot, sizeof record.boot, "another");
        if (i == 0) {
            snprintf(record.host, sizeof record.host, "other");
        } else if (i == 1) {
            record.space++; /* a container */
        } else {
            snprintf(record.boot, sizeof record.boot, "%s", own_record().boot);
            record.space++;
        }
        put(path, &record);
        assert_int_equal(gmv_folder_lock_take(&lock, folder, "train", quick, watched), GMV_STOPPED);
        gmv_error_clear();
        taken(NULL);
        put(path, &record);
        pid_t holder = start_holder();
        for (int fd = open(path, O_RDWR); holder == 0; record.beat++) {
            gmv_lock_write(fd, &record);
            wait_ms(5);
        }
        refused("works in this folder");
        kill(holder, SIGKILL);
        waitpid(holder, NULL, 0);
        taken(NULL);
    }
    assert_int_equal(close(open(path, O_CREAT | O_WRONLY, 0666)), 0); /* cut short by a power failure */
    assert_int_equal(gmv_folder_lock_take(&lock, folder, "train", quick, watched), GMV_STOPPED);
    gmv_error_clear();
    taken(NULL);
}

static void other_things_are_no_lock(void **state)
{
    (void)state;
    gmv_folder_lock *lock;
    for (int i = 0; i < 3; i++) {
        int made = i == 0 ? mkfifo(path, 0666) : i == 1 ? mkdir(path, 0777) : symlink("nowhere", path);
        assert_int_equal(made, 0);
        assert_int_equal(gmv_folder_lock_take(&lock, folder, "train", quick, watched), GMV_ERR_ENVIRONMENT);
        assert_non_null(strstr(gmv_error_message(), "is no lock"));
        gmv_error_clear();
        assert_int_equal(remove(path), 0);
    }
}

/* Also where one that was taking it over was killed in between. */
static void one_of_many_takes_a_stale_one(void **state)
{
    (void)state;
    enum { rounds = 10, contenders = 6 };
    char claim[200];
    for (int round = 0; round < rounds; round++) {
        int go[2], stay[2], winners = 0;
        pid_t pid[contenders];
        gmv_lock_record record = own_record();
        record.pid = gone();
        put(path, &record);
        snprintf(claim, sizeof claim, "%s.%s", path, record.token);
        if (round % 2 == 1) {
            record = own_record();
            record.pid = gone();
            put(claim, &record);
        }
        assert_int_equal(pipe(go) | pipe(stay), 0);
        for (int i = 0; i < contenders; i++) {
            pid[i] = start_holder();
            if (pid[i] == 0) {
                gmv_folder_lock *lock;
                char byte;
                close(go[1]);
                close(stay[0]);
                if (read(go[0], &byte, 1) != 0) { /* until all are there */
                    _exit(1);
                }
                gmv_status status = gmv_folder_lock_take(&lock, folder, "train", patient, NULL);
                byte = status == GMV_OK;
                if (write(stay[1], &byte, 1) == 1 && byte) {
                    pause(); /* holds it until it is killed */
                }
                _exit(0);
            }
        }
        close(go[0]);
        close(go[1]);
        close(stay[1]);
        for (int i = 0; i < contenders; i++) {
            char byte = 0;
            assert_int_equal(read(stay[0], &byte, 1), 1);
            winners += byte;
        }
        close(stay[0]);
        for (int i = 0; i < contenders; i++) {
            kill(pid[i], SIGKILL);
            waitpid(pid[i], NULL, 0);
        }
        assert_int_equal(winners, 1);
        assert_int_equal(access(claim, F_OK), -1);
    }
}

/* One that stood still and has lost its folder does not go on. */
static void a_loser_ends(void **state)
{
    (void)state;
    int ready[2], how = 0;
    char byte = 1;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = start_holder();
    if (pid == 0) {
        gmv_folder_lock *lock;
        close(STDERR_FILENO);
        if (gmv_folder_lock_take(&lock, folder, "train", quick, NULL) == GMV_OK && write(ready[1], &byte, 1) == 1) {
            pause();
        }
        _exit(1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    gmv_lock_record other = own_record();
    put("lock-test/other", &other);
    assert_int_equal(rename("lock-test/other", path), 0);
    waitpid(pid, &how, 0);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 5);
    close(ready[0]);
    close(ready[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_at_a_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_gone_here_is_taken_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(elsewhere_it_is_watched, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_things_are_no_lock, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_of_many_takes_a_stale_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_loser_ends, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
