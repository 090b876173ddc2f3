#include "coh.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static coh_settings settings;
static uint64_t random_state;

static unsigned long long number_from(const char *name, unsigned long long otherwise)
{
    const char *text = getenv(name);
    if (text == NULL || *text == '\0') {
        return otherwise;
    }
    char *end;
    unsigned long long value = strtoull(text, &end, 0);
    if (*end != '\0') {
        coh_die("%s=%s is not a number", name, text);
    }
    return value;
}

static coh_order order_from_environment(void)
{
    const char *text = getenv("GMVAE_CUDA_HOST_ORDER");
    if (text == NULL || *text == '\0' || strcmp(text, "scattered") == 0) {
        return COH_SCATTERED;
    }
    if (strcmp(text, "forward") == 0) {
        return COH_FORWARD;
    }
    if (strcmp(text, "reverse") != 0) {
        coh_die("GMVAE_CUDA_HOST_ORDER=%s is neither forward, reverse nor scattered", text);
    }
    return COH_REVERSE;
}

/* CUDA shows the devices of the list up to the first that does not exist. */
static int visible_devices(int present)
{
    const char *list = getenv("CUDA_VISIBLE_DEVICES");
    if (list == NULL) {
        return present;
    }
    int visible = 0;
    while (*list != '\0') {
        char *end;
        long index = strtol(list, &end, 10);
        if (end == list || index < 0 || index >= present) {
            break;
        }
        visible++;
        list = *end == ',' ? end + 1 : "";
    }
    return visible;
}

static void read_settings(void)
{
    settings.order = order_from_environment();
    settings.seed = number_from("GMVAE_CUDA_HOST_SEED", 1);
    settings.memory = (size_t)number_from("GMVAE_CUDA_HOST_MEMORY", 4ull << 30);
    settings.devices = visible_devices((int)number_from("GMVAE_CUDA_HOST_DEVICES", 1));
    random_state = settings.seed;
}

const coh_settings *coh_setting(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, read_settings);
    return &settings;
}

/* splitmix64 (Steele, Lea, Flood 2014). */
uint64_t coh_random(void)
{
    random_state += 0x9e3779b97f4a7c15u;
    uint64_t z = random_state;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

void *coh_resize(void *block, size_t bytes)
{
    void *larger = realloc(block, bytes > 0 ? bytes : 1);
    if (larger == NULL) {
        coh_die("no host memory (%zu bytes)", bytes);
    }
    return larger;
}

void *coh_new(size_t bytes)
{
    return memset(coh_resize(NULL, bytes), 0, bytes);
}
