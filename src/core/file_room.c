#include "gmvae/files.h"

#include <math.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

gmv_status gmv_file_check_room(const char *folder, const char *path, double bytes, double least, const char *advice)
{
    const double megabyte = 1e6;
    struct statvfs at;
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && least > (double)limit.rlim_cur) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT,
                        "%s takes about %.1f MB, but files may have %.1f MB here (ulimit -f); raise that limit", path,
                        bytes / megabyte, (double)limit.rlim_cur / megabyte);
    }
    double free = statvfs(folder, &at) == 0 ? (double)at.f_bavail * (double)at.f_frsize : HUGE_VAL;
    return least <= free ? GMV_OK
                         : GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s takes about %.1f MB, but %.1f MB are free there; %s", path,
                                    bytes / megabyte, free / megabyte, advice);
}
