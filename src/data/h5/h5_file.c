#include "h5.h"

#include "lzf_filter.h"
#include "not_hdf5.h"

#include "gmvae/mem.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <mpi.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

gmv_shown_text gmv_shown(const char *name)
{
    gmv_shown_text shown;
    size_t length = strlen(name), n = length < sizeof shown.at ? length : sizeof shown.at - 1;
    memcpy(shown.at, name, n);
    shown.at[n] = '\0';
    gmv_make_printable(shown.at);
    if (length > n) {
        memcpy(shown.at + n - 3, "...", 3);
    }
    return shown;
}

void gmv_h5_prepare(void)
{
    static bool ready;
    if (!ready) {
        ready = true;
        H5dont_atexit(); /* after a failed write HDF5's own exit handler crashes */
        H5open();
        gmv_lzf_register();
        H5Lunregister(H5L_TYPE_EXTERNAL); /* an input file does not choose what other files are opened */
    }
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

static herr_t take_innermost(unsigned n, const H5E_error2_t *error, void *text)
{
    if (n == 0 && error->desc != NULL) {
        snprintf(text, 400, "%s", error->desc);
    }
    return 0;
}

void gmv_h5_reason(char *text, size_t size)
{
    char words[400] = "";
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_innermost, words);
    for (char *c = words; *c != '\0'; c++) { /* HDF5 puts line breaks into some of its messages */
        *c = *c == '\n' ? ' ' : *c;
    }
    snprintf(text, size, words[0] != '\0' ? " (HDF5: %s)" : "%s", words);
}

gmv_status gmv_h5_fail(const gmv_h5 *file, const char *what)
{
    char words[400];
    gmv_h5_reason(words, sizeof words);
    if (strstr(words, "memory allocation failed") != NULL) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: out of memory while %s is read; see ulimit -v", file->path,
                        gmv_shown(what).at);
    }
    return GMV_FAIL(GMV_ERR_DATA, "%s: %s cannot be read%s; the file may be damaged, copy it again", file->path,
                    gmv_shown(what).at, words);
}

gmv_status gmv_h5_same_stamp(gmv_h5 *file, gmv_file_stamp *stamp)
{
    GMV_TRY(gmv_file_stamp_same(&file->stamp, stamp) ? GMV_OK : gmv_file_unchanged(file->path, stamp));
    file->stamp = *stamp;
    return GMV_OK;
}

gmv_status gmv_h5_same_file(const gmv_h5 *file, int fd)
{
    gmv_file_stamp stamp = file->stamp;
    return gmv_file_look_behind(fd, &stamp) != GMV_FILE_CHANGED ? GMV_OK : gmv_file_has_changed(file->path);
}

gmv_status gmv_h5_unchanged(const gmv_h5 *file)
{
    gmv_file_stamp stamp = file->stamp;
    return gmv_file_unchanged(file->path, &stamp);
}

/* Where the superblock begins: at 0, or behind a user block of 512, 1024, 2048 ... bytes; -1: nowhere.
 * @param[out] block  [48] its first bytes, NULL if they are not wanted */
static int64_t find_signature(FILE *in, int64_t size, unsigned char *block)
{
    static const unsigned char signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1A, '\n'};
    unsigned char start[48];
    for (int64_t at = 0; at < size && fseek(in, (long)at, SEEK_SET) == 0; at = at == 0 ? 512 : 2 * at) {
        memset(start, 0, sizeof start);
        if (fread(start, 1, sizeof start, in) >= sizeof signature && memcmp(start, signature, sizeof signature) == 0) {
            if (block != NULL) {
                memcpy(block, start, sizeof start);
            }
            return at;
        }
    }
    return -1;
}

/* What a path that HDF5 may not open is. GMV_OK when it looks like HDF5. */
static gmv_status look_at_file(const char *path, gmv_file_stamp *stamp)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: %s; check the path", path, strerror(errno));
    }
    *stamp = gmv_file_stamp_of(&info);
    if (S_ISDIR(info.st_mode)) {
        return gmv_refuse_folder(path);
    }
    if (!S_ISREG(info.st_mode)) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: %s, not a file; HDF5 has to jump about in it: write it to a file first",
                        path, S_ISFIFO(info.st_mode) ? "a pipe" : "a device or socket");
    }
    FILE *in = fopen(path, "rb");
    if (in == NULL) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: cannot be opened: %s", path, strerror(errno));
    }
    int64_t at = find_signature(in, info.st_size, NULL);
    fclose(in);
    return at >= 0 ? GMV_OK : gmv_refuse_other_format(path);
}

/* Tries the lock that HDF5 would take, of a file that is not there on its folder.
 * @return  0, or errno: EWOULDBLOCK where somebody holds the lock, others where locks cannot be had */
static int try_lock(const char *path)
{
    char folder[4200];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        snprintf(folder, sizeof folder, "%.4000s", path);
        fd = open(dirname(folder), O_RDONLY | O_CLOEXEC);
    }
    int failed = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0 ? errno : 0;
    if (fd >= 0) {
        close(fd);
    }
    return failed;
}

void gmv_h5_lock_if_possible(hid_t access, const char *path)
{
    int failed = try_lock(path);
    H5Pset_file_locking(access, failed == 0 || failed == EWOULDBLOCK, true);
}

static hid_t reading_properties(const char *path, const gmv_comm *comm)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    if (access < 0) {
        return access;
    }
    H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
    if (comm != NULL) {
        H5Pset_fapl_mpio(access, (MPI_Comm)comm->world, MPI_INFO_NULL);
        H5Pset_all_coll_metadata_ops(access, true);
    } else {
        gmv_h5_lock_if_possible(access, path);
    }
    return access;
}

/* Bytes that the file must have, as its superblock says; 0 where that cannot be read. */
static int64_t declared_size(const char *path, int64_t size)
{
    unsigned char block[48] = {0};
    FILE *in = fopen(path, "rb");
    int64_t at = in != NULL ? find_signature(in, size, block) : -1, end = 0;
    if (in != NULL) {
        fclose(in);
    }
    bool old = block[8] < 2;
    if (at >= 0 && (old ? block[13] : block[9]) == 8) { /* bytes of an address */
        for (int i = 7; i >= 0; i--) {
            end = (int64_t)((uint64_t)end << 8 | block[(old ? (block[8] == 1 ? 44 : 40) : 28) + i]);
        }
    }
    return end;
}

/* Why HDF5 did not open it. */
static gmv_status cannot_open(const char *path, int64_t size)
{
    char words[400];
    gmv_h5_reason(words, sizeof words);
    int64_t declared = declared_size(path, size);
    if (strstr(words, "unable to lock") != NULL) {
        return try_lock(path) == EWOULDBLOCK
                   ? GMV_FAIL(GMV_ERR_DATA,
                              "%s: another program has it open for writing; wait until that has closed it "
                              "(HDF5_USE_FILE_LOCKING=FALSE in the environment reads it all the same)",
                              path)
                   : GMV_FAIL(GMV_ERR_DATA,
                              "%s: cannot be locked%s; set HDF5_USE_FILE_LOCKING=FALSE in the environment", path,
                              words);
    }
    if (strstr(words, "already open for") != NULL) {
        return GMV_FAIL(GMV_ERR_DATA,
                        "%s: marked as open for writing: another program writes it, or ended without closing it; "
                        "when none does, h5clear -s %s takes the mark away",
                        path, path);
    }
    if (size < declared || size < 96) {
        return GMV_FAIL(GMV_ERR_DATA,
                        "%s: the file is cut short: %" PRId64 " of %" PRId64 " bytes; an interrupted download or copy? "
                        "Get it again",
                        path, size, declared > size ? declared : INT64_C(96));
    }
    return GMV_FAIL(GMV_ERR_DATA,
                    "%s: cannot be opened as HDF5%s; it was not written completely or is damaged, copy it again", path,
                    words);
}

gmv_status gmv_h5_open(gmv_h5 *file, const char *path, const gmv_comm *comm)
{
    gmv_h5_prepare();
    memset(file, 0, sizeof *file);
    gmv_status status = look_at_file(path, &file->stamp);
    if (comm != NULL) {
        status = gmv_comm_agree(comm, status); /* H5Fopen is collective then */
    }
    GMV_TRY(status);
    GMV_TRY(gmv_copy_text(&file->path, path));
    file->shared = comm != NULL;
    hid_t access = reading_properties(path, comm);
    file->id = H5Fopen(path, H5F_ACC_RDONLY, access);
    if (file->id < 0) {
        status = cannot_open(path, file->stamp.size);
        GMV_FREE(file->path);
        file->id = 0;
    }
    H5Pclose(access);
    return status;
}

void gmv_h5_close(gmv_h5 *file)
{
    if (file->id > 0) {
        H5Fclose(file->id);
    }
    file->id = 0;
    GMV_FREE(file->path);
}

bool gmv_h5_has(const gmv_h5 *file, const char *path)
{
    char part[1024];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof part) {
        return false;
    }
    if (strcmp(path, "/") == 0) {
        return true;
    }
    for (size_t end = 1; end <= length; end++) {
        if (path[end] != '/' && path[end] != '\0') {
            continue;
        }
        memcpy(part, path, end);
        part[end] = '\0';
        H5L_info_t link;
        if (H5Lexists(file->id, part, H5P_DEFAULT) <= 0 || H5Lget_info(file->id, part, &link, H5P_DEFAULT) < 0 ||
            link.type == H5L_TYPE_EXTERNAL || H5Oexists_by_name(file->id, part, H5P_DEFAULT) <= 0) {
            return false;
        }
    }
    return true;
}

bool gmv_h5_is_group(const gmv_h5 *file, const char *path)
{
    if (!gmv_h5_has(file, path)) {
        return false;
    }
    H5O_info_t info;
    return H5Oget_info_by_name(file->id, path, &info, H5P_DEFAULT) >= 0 && info.type == H5O_TYPE_GROUP;
}

typedef struct name_list {
    gmv_texts *names;
    int capacity;
    gmv_status status;
} name_list;

static herr_t add_name(hid_t group, const char *name, const H5L_info_t *info, void *data)
{
    (void)group;
    (void)info;
    name_list *list = data;
    if (list->names->n == list->capacity) {
        int capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
        list->status = GMV_GROW(list->names->at, list->capacity, capacity, "names in a group");
        if (list->status != GMV_OK) {
            return -1;
        }
        list->capacity = capacity;
    }
    list->status = gmv_copy_text(&list->names->at[list->names->n], name);
    list->names->n += list->status == GMV_OK;
    return list->status == GMV_OK ? 0 : -1;
}

gmv_status gmv_h5_children(const gmv_h5 *file, const char *path, gmv_texts *names)
{
    memset(names, 0, sizeof *names);
    name_list list = {names, 0, GMV_OK};
    hsize_t at = 0;
    hid_t group = H5Gopen2(file->id, path, H5P_DEFAULT);
    if (group < 0) {
        return gmv_h5_fail(file, path);
    }
    herr_t result = H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, &at, add_name, &list);
    H5Gclose(group);
    if (result < 0) {
        gmv_texts_free(names);
        return list.status != GMV_OK ? list.status : gmv_h5_fail(file, path);
    }
    return GMV_OK;
}

void gmv_texts_free(gmv_texts *texts)
{
    for (int i = 0; texts->at != NULL && i < texts->n; i++) {
        gmv_free(texts->at[i]);
    }
    GMV_FREE(texts->at);
    texts->n = 0;
}

void gmv_names_hint(const gmv_texts *names, const char *wanted, char *text, size_t size)
{
    enum { most = 12 };
    size_t used = (size_t)snprintf(text, size, "there are %s", names->n == 0 ? "none" : "");
    for (int i = 0; i < names->n && i < most && used < size; i++) {
        used += (size_t)snprintf(text + used, size - used, "%s%s", i > 0 ? ", " : "", gmv_shown(names->at[i]).at);
    }
    if (names->n > most && used < size) {
        used += (size_t)snprintf(text + used, size - used, " and %d more", names->n - most);
    }
    const char *nearest = names->n == 1 ? NULL : gmv_nearest(wanted, names->n, (const char *const *)names->at);
    if (nearest != NULL && used < size) {
        snprintf(text + used, size - used, "; did you mean '%s'?", gmv_shown(nearest).at);
    }
}
