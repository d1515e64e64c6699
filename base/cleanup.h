/* SPDX-License-Identifier: Apache-2.0 */
/* Scope-bound cleanup.  Automatic variables with one of these attributes must
 * be initialised where they are declared.  bf_steal() hands ownership on. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define bf_cleanup(fn) __attribute__((cleanup(fn)))

#define bf_steal(p)                                                                                \
    __extension__({                                                                                \
        __typeof__(p) *steal_at_ = &(p);                                                           \
        __typeof__(p) stolen_ = *steal_at_;                                                        \
        *steal_at_ = NULL;                                                                         \
        stolen_;                                                                                   \
    })

#define bf_steal_fd(fd)                                                                            \
    __extension__({                                                                                \
        int *steal_at_ = &(fd);                                                                    \
        int stolen_ = *steal_at_;                                                                  \
        *steal_at_ = -1;                                                                           \
        stolen_;                                                                                   \
    })

static inline void bf_free_at(void *at)
{
    free(*(void **)at);
}

static inline void bf_close_at(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void bf_fclose_at(FILE *const *file)
{
    if (*file)
        fclose(*file);
}

#define bf_auto_free bf_cleanup(bf_free_at)   /* bf_auto_free char *x = NULL; */
#define bf_auto_fd bf_cleanup(bf_close_at)    /* bf_auto_fd int fd = -1; */
#define bf_auto_file bf_cleanup(bf_fclose_at) /* bf_auto_file FILE *f = NULL; */

#define bf_array_length(a) (sizeof(a) / sizeof((a)[0]))
