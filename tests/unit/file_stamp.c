/* Whether a file is as it was: touched, replaced, changed, removed. */
#include "harness.h"

#include "../../src/data/h5/file_stamp.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

enum { size = 1 << 20 };
static const char path[] = "file-stamp-test", copy[] = "file-stamp-test-copy";

static void write_bytes(const char *name, int64_t length)
{
    FILE *out = fopen(name, "w");
    assert_non_null(out);
    for (int64_t i = 0; i < length; i++) {
        putc((int)(i * i / 1000 % 251), out);
    }
    assert_int_equal(fclose(out), 0);
}

/* Another time, as soon as the clock of the file system has gone on. */
static void touch(const char *name)
{
    static time_t seconds = 1000000000;
    struct timespec times[2] = {{.tv_sec = ++seconds}, {.tv_sec = seconds}};
    assert_int_equal(utimensat(AT_FDCWD, name, times, 0), 0);
}

static void flip(int64_t at)
{
    int fd = open(path, O_RDWR);
    char byte;
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte = (char)(byte ^ 1);
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
    touch(path);
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    unlink(copy);
    gmv_error_clear();
    return 0;
}

/* What is said of a change, by the path and by a descriptor that was opened before it. */
static void check(const gmv_file_stamp *stamp, int fd, gmv_file_state by_path, gmv_file_state behind)
{
    gmv_file_stamp a = *stamp, b = *stamp;
    assert_int_equal(gmv_file_look(path, &a), by_path);
    assert_int_equal(gmv_file_look_behind(fd, &b), behind);
    if (by_path == GMV_FILE_TOUCHED) {
        assert_int_equal(gmv_file_look(path, &a), GMV_FILE_SAME);
    }
}

static void go_through(int64_t whole, int64_t hashed)
{
    gmv_file_stamp stamp;
    write_bytes(path, size);
    int fd = open(path, O_RDONLY);
    assert_int_equal(gmv_file_stamp_take(path, whole, &stamp), GMV_OK);
    assert_int_equal(stamp.hashed, hashed);
    check(&stamp, fd, GMV_FILE_SAME, GMV_FILE_SAME);
    touch(path);
    check(&stamp, fd, GMV_FILE_TOUCHED, GMV_FILE_TOUCHED);
    const int64_t places[] = {0, size - 1};
    for (int i = 0; i < 2; i++) {
        flip(places[i]);
        check(&stamp, fd, GMV_FILE_CHANGED, GMV_FILE_CHANGED);
        flip(places[i]);
        check(&stamp, fd, GMV_FILE_TOUCHED, GMV_FILE_TOUCHED);
    }
    write_bytes(copy, size);
    assert_int_equal(rename(copy, path), 0);
    touch(path);
    check(&stamp, fd, GMV_FILE_TOUCHED, GMV_FILE_TOUCHED);
    assert_int_equal(truncate(path, size - 1), 0);
    check(&stamp, fd, GMV_FILE_CHANGED, GMV_FILE_TOUCHED);
    unlink(path);
    check(&stamp, fd, GMV_FILE_CHANGED, GMV_FILE_TOUCHED);
    close(fd);
}

static void all_bytes_of_a_small_file(void **state)
{
    (void)state;
    go_through(size, size);
    gmv_file_stamp stamp;
    write_bytes(path, size);
    assert_int_equal(gmv_file_stamp_take(path, size, &stamp), GMV_OK);
    for (int64_t at = 1; at < size; at += size / 7) {
        flip(at);
        assert_int_equal(gmv_file_look(path, &stamp), GMV_FILE_CHANGED);
        flip(at);
        assert_int_equal(gmv_file_look(path, &stamp), GMV_FILE_TOUCHED);
    }
}

/* It finds what is written over a stretch, not every byte. */
static void a_sample_of_a_large_file(void **state)
{
    (void)state;
    const int64_t stretch = size / 16; /* holds a whole part, and so a block */
    go_through(size - 1, 34 * 4096);
    for (int64_t first = 0; first < size; first += stretch) {
        gmv_file_stamp stamp;
        write_bytes(path, size);
        assert_int_equal(gmv_file_stamp_take(path, size - 1, &stamp), GMV_OK);
        for (int64_t at = first; at < first + stretch; at += 4096) {
            flip(at + 2048);
            flip(at);
        }
        assert_int_equal(gmv_file_look(path, &stamp), GMV_FILE_CHANGED);
    }
}

static void what_the_others_say(void **state)
{
    (void)state;
    gmv_file_stamp stamp;
    write_bytes(path, 100);
    assert_int_equal(gmv_file_stamp_take(path, 100, &stamp), GMV_OK);
    touch(path);
    assert_int_equal(gmv_file_unchanged(path, &stamp), GMV_OK);
    flip(50);
    assert_int_equal(gmv_file_unchanged(path, &stamp), GMV_ERR_DATA);
    assert_non_null(strstr(gmv_error_message(), "file-stamp-test: the file has changed"));
    gmv_file_stamp none;
    assert_int_equal(gmv_file_stamp_take(copy, 100, &none), GMV_OK); /* who opens it says why it cannot be */
    assert_int_equal(gmv_file_look(path, &none), GMV_FILE_CHANGED);
    struct stat info;
    stat(path, &info);
    none = gmv_file_stamp_of(&info); /* without a content */
    assert_int_equal(gmv_file_look(path, &none), GMV_FILE_SAME);
    touch(path);
    assert_int_equal(gmv_file_look(path, &none), GMV_FILE_CHANGED);
    assert_int_equal(gmv_file_whole(1), 1 << 26);
    assert_int_equal(gmv_file_whole(400), (1 << 30) / 400);
    assert_int_equal(gmv_file_whole(100000), 1 << 18);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(all_bytes_of_a_small_file, tear_down),
                                       cmocka_unit_test_teardown(a_sample_of_a_large_file, tear_down),
                                       cmocka_unit_test_teardown(what_the_others_say, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
