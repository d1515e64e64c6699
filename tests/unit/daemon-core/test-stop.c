/* SPDX-License-Identifier: Apache-2.0 */
/* The end of the service: what was posted to the loop and did not come to run is run while all that
 * it uses is there.  Whether it is shows under the sanitizers, and by freed memory being painted
 * over (MALLOC_PERTURB_, which the tests set). */
#include <unistd.h>

#include "bench.h"
#include "tap.h"

static int heard_fd;

static void hear(struct json_object *event, void *user)
{
    (void)user;
    if (json_object_object_get(event, "type"))
        bench_check(write(heard_fd, "x", 1) == 1, "write to the parent");
}

static void say_and_stop(struct bf_service *service)
{
    bf_auto_error err = BF_ERROR_INIT;

    bf_service_subscribe(service, hear, NULL);
    bench_check(bf_service_event(service, NULL, "info", "test", NULL, &err, "last words") == 0,
                "event: %s", err.message ? err.message : "");
}

int main(void)
{
    int fds[2];
    char said[8];

    diag("%s", bench_directory());
    ok(pipe(fds) == 0, "pipe");
    heard_fd = fds[1];
    ok(bench_run(say_and_stop, 0, NULL) == BENCH_FINE, "an event in the moment of the stop");
    close(fds[1]);
    ok(read(fds[0], said, sizeof(said)) == 1, "it is published, once");
    close(fds[0]);
    bench_remove();
    return done();
}
