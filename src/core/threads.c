#include "gmvae/threads.h"

#include "gmvae/mem.h"

#include <pthread.h>
#include <stdlib.h>

enum { page = 4096 }; /* guards a stack */

static void *pass_gate(void *gate)
{
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return NULL;
}

int gmv_threads_startable(int most, int64_t rest)
{
    size_t stack = 0;
    pthread_attr_t usual;
    pthread_attr_init(&usual);
    pthread_attr_getstacksize(&usual, &stack);
    pthread_attr_destroy(&usual);
    if (gmv_memory_addresses().limit >= 0) {
        most = gmv_memory_blocks(most, (int64_t)stack + page, rest);
    }
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    pthread_t *thread = most > 0 ? calloc((size_t)most, sizeof *thread) : NULL;
    int n = 0;
    pthread_mutex_lock(&gate); /* until all are there */
    while (thread != NULL && n < most && pthread_create(&thread[n], NULL, pass_gate, &gate) == 0) {
        n++;
    }
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < n; i++) {
        pthread_join(thread[i], NULL);
    }
    free(thread);
    return n;
}
