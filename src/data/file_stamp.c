#include "file_stamp.h"

#include <string.h>

gmv_file_stamp gmv_file_stamp_of(const struct stat *info)
{
    return (gmv_file_stamp){(int64_t)info->st_ino, (int64_t)info->st_size, (int64_t)info->st_mtim.tv_sec,
                            (int64_t)info->st_mtim.tv_nsec};
}

bool gmv_file_stamp_same(const gmv_file_stamp *a, const gmv_file_stamp *b)
{
    return a->inode == b->inode && a->size == b->size && a->seconds == b->seconds && a->nanoseconds == b->nanoseconds;
}

gmv_file_stamp gmv_file_stamp_behind(int fd)
{
    struct stat info;
    memset(&info, 0, sizeof info);
    fstat(fd, &info);
    return gmv_file_stamp_of(&info);
}

gmv_status gmv_file_has_changed(const char *path)
{
    return GMV_FAIL(GMV_ERR_DATA, "%s: the file has changed while it was in use; run again when nothing writes to it",
                    path);
}

gmv_status gmv_file_unchanged(const char *path, const gmv_file_stamp *stamp)
{
    struct stat info;
    memset(&info, 0, sizeof info);
    stat(path, &info);
    gmv_file_stamp now = gmv_file_stamp_of(&info);
    return gmv_file_stamp_same(&now, stamp) ? GMV_OK : gmv_file_has_changed(path);
}
