/* SPDX-License-Identifier: Apache-2.0 */
/* The first program of a converted Linux guest's initramfs: loads the virtio modules, then makes
 * way for the guest's own /init as if it had never been there.
 *
 * The kernel unpacks the archive that the conversion appended, which replaces /init by this
 * program and brings, in /.bfi/, the guest's own modules, the guest's own /init (init.orig) and
 * the file `list` with one command a line, done in this order:
 *     m /.bfi/00-virtio.ko     load this module and remove the file
 *     u /etc/lvm/devices/...   remove this file
 * It depends on the kernel alone, so it works in the initramfs of every generator.
 *
 * No libc: static, some 2 KiB.  No error stops the boot; what failed is told on the console
 * (descriptor 2).  A module that is there already (EEXIST) is fine.
 */
#include <asm/unistd.h>

#ifndef __x86_64__
#error "the shim is written for x86-64 only"
#endif

#define O_RDONLY 0
#define ENOSYS 38
#define EEXIST 17
#define PROT_READ_WRITE 3
#define MAP_PRIVATE_ANON 0x22
#define MODULE_MAX (32ul << 20)
#define LIST_MAX 16384

static long call6(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static long call3(long number, long a, long b, long c)
{
    return call6(number, a, b, c, 0, 0, 0);
}

static void say(const char *text)
{
    long length = 0;

    while (text[length])
        length++;
    call3(__NR_write, 2, (long)text, length);
}

static void tell(const char *what, const char *path)
{
    say("blockferry: ");
    say(what);
    say(path);
    say("\n");
}

/* Kernels before 3.8 take a module from memory only. */
static long load_from_memory(long fd)
{
    long memory = call6(__NR_mmap, 0, MODULE_MAX, PROT_READ_WRITE, MAP_PRIVATE_ANON, -1, 0);
    long length = 0, got, result;

    if (memory < 0 && memory > -4096)
        return memory;
    while ((got = call3(__NR_read, fd, memory + length, (long)MODULE_MAX - length)) > 0)
        length += got;
    result = call3(__NR_init_module, memory, length, (long)"");
    call3(__NR_munmap, memory, MODULE_MAX, 0);
    return result;
}

static void load(const char *path)
{
    long fd = call3(__NR_open, (long)path, O_RDONLY, 0);
    long result;

    if (fd < 0) {
        tell("cannot open ", path);
        return;
    }
    result = call3(__NR_finit_module, fd, (long)"", 0);
    if (result == -ENOSYS)
        result = load_from_memory(fd);
    call3(__NR_close, fd, 0, 0);
    call3(__NR_unlink, (long)path, 0, 0);
    tell(result == 0 || result == -EEXIST ? "loaded " : "cannot load ", path);
}

static void obey(char *line)
{
    if (line[0] == 'm' && line[1] == ' ')
        load(line + 2);
    else if (line[0] == 'u' && line[1] == ' ')
        call3(__NR_unlink, (long)(line + 2), 0, 0);
}

static void work_through_list(void)
{
    static char list[LIST_MAX + 1];
    long fd = call3(__NR_open, (long)"/.bfi/list", O_RDONLY, 0);
    long length = 0, got;
    char *line = list;

    while (fd >= 0 && (got = call3(__NR_read, fd, (long)(list + length), LIST_MAX - length)) > 0)
        length += got;
    call3(__NR_close, fd, 0, 0);
    for (long i = 0; i < length; i++) {
        if (list[i] != '\n')
            continue;
        list[i] = '\0';
        obey(line);
        line = list + i + 1;
    }
    call3(__NR_unlink, (long)"/.bfi/list", 0, 0);
}

/* argc, argv..., NULL, envp... as the kernel laid them out. */
__attribute__((noreturn, used)) static void start(long *stack)
{
    long count = stack[0];
    long argv = (long)(stack + 1);
    long envp = (long)(stack + 1 + count + 1);

    work_through_list();
    /* Without the rename /init would still be this program, running itself for ever. */
    if (call3(__NR_rename, (long)"/.bfi/init.orig", (long)"/init", 0) == 0) {
        call3(__NR_rmdir, (long)"/.bfi", 0, 0);
        call3(__NR_execve, (long)"/init", argv, envp);
    }
    tell("cannot run the guest's ", "/init");
    for (;;)
        call3(__NR_exit, 1, 0, 0);
}

__asm__(".globl _start\n"
        "_start:\n"
        "    xorl %ebp, %ebp\n"
        "    movq %rsp, %rdi\n"
        "    andq $-16, %rsp\n"
        "    call start\n");
