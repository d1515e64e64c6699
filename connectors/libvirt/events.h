/* SPDX-License-Identifier: Apache-2.0 */
/* The event loop that libvirt's client needs for keepalive, and alarms for our deadlines.
 *
 * libvirt's own default loop would do for keepalive.  This one is ours for one more reason: a
 * libvirt call blocks for as long as the daemon at the other end works on it (a stuck QEMU monitor
 * blocks it for ever) and there is no call to end it.  Shutting the connection's socket down
 * does end it, and the socket's descriptor is seen only by who implements the event loop.
 *
 * Threads: one loop thread per process, started once, never ended.  All functions from any thread.
 */
#pragma once

#include <stdint.h>

/* Start the loop and libvirt itself, once.  libvirt's printing of errors is silenced. */
void bf_libvirt_events_start(void);

/* Descriptors that libvirt registers from this thread are from now on reported to fn (it gets the
 * descriptor on loan; it may dup it); NULL ends that. */
typedef void bf_libvirt_fd_fn(int fd, void *user);
void bf_libvirt_events_watch(bf_libvirt_fd_fn *fn, void *user);

/* Call fn(user) in the loop thread after `ms`; returns an id for removal. */
typedef void bf_libvirt_alarm_fn(int id, void *user);
int bf_libvirt_alarm_set(uint64_t ms, bf_libvirt_alarm_fn *fn, void *user);
void bf_libvirt_alarm_remove(int id);
