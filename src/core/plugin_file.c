#include "gmvae/files.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Folder of the running program, without a slash at its end. */
static void program_folder(char *folder)
{
    ssize_t length = readlink("/proc/self/exe", folder, GMV_PATH_ROOM - 1);
    folder[length > 0 ? length : 0] = '\0';
    char *slash = strrchr(folder, '/');
    if (slash != NULL) {
        *slash = '\0';
    }
}

bool gmv_plugin_file(const char *name, const char *variable, char *path)
{
    static const char *const places[] = {"", "../lib/gmvae_dist/", "../" GMVAE_LIBDIR "/gmvae_dist/"};
    const char *named = getenv(variable);
    if (named != NULL && named[0] != '\0') {
        snprintf(path, GMV_PATH_ROOM, "%s", named);
        return true;
    }
    char folder[GMV_PATH_ROOM];
    program_folder(folder);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(path, GMV_PATH_ROOM, "%.4000s/%s%s", folder, places[i], name);
        if (access(path, F_OK) == 0) {
            return true;
        }
    }
    return false;
}
