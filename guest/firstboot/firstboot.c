/* SPDX-License-Identifier: Apache-2.0 */
/* firstboot.exe: a Windows service that does the steps of steps.txt beside it, once.
 *
 * Started by the service manager at the first boot after a conversion.  (A command interpreter in
 * its place would be killed after 30 s: it does not answer the manager.)  What it does is in
 * firstboot.log beside it.  At the end it removes its service, the steps and, at the next boot,
 * itself.  Interrupted, it begins again at the next boot: every step can be repeated.
 *
 * With an argument it does the steps of that file in the foreground, for trials. */
#include <winsock2.h>
#include <ws2tcpip.h>

#include <iphlpapi.h>
#include <windows.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "steps.h"

#define SERVICE "blockferry-firstboot"
#define STEPS_MAX 65536
#define CARDS_MAX 64
#define ADAPTER_WAIT_S 300
#define COMMAND_MAX 4096

static SERVICE_STATUS_HANDLE status_handle;
static SERVICE_STATUS status = {.dwServiceType = SERVICE_WIN32_OWN_PROCESS};
static HANDLE log_file = INVALID_HANDLE_VALUE;

/* One adapter that steps were done on. */
static struct card {
    char mac[BF_STEP_MAC];
    unsigned long index;
    struct bf_step_counts counts;
} cards[CARDS_MAX];

static void say(const char *format, ...)
{
    char line[COMMAND_MAX + 256];
    SYSTEMTIME now;
    DWORD written;
    va_list args;
    int length;

    GetSystemTime(&now);
    length = snprintf(line, sizeof(line), "%04u-%02u-%02uT%02u:%02u:%02uZ ", now.wYear, now.wMonth,
                      now.wDay, now.wHour, now.wMinute, now.wSecond);
    va_start(args, format);
    length += vsnprintf(line + length, sizeof(line) - (size_t)length - 2, format, args);
    va_end(args);
    if (length > (int)sizeof(line) - 3)
        length = (int)sizeof(line) - 3;
    line[length++] = '\r';
    line[length++] = '\n';
    WriteFile(log_file, line, (DWORD)length, &written, NULL);
    FlushFileBuffers(log_file);
}

static void run(const char *command, unsigned seconds)
{
    STARTUPINFOA startup = {.cb = sizeof(startup), .dwFlags = STARTF_USESTDHANDLES};
    PROCESS_INFORMATION process;
    char expanded[COMMAND_MAX];
    DWORD code = 0, length = ExpandEnvironmentStringsA(command, expanded, sizeof(expanded));

    if (length == 0 || length > sizeof(expanded)) {
        say("cannot expand: %s", command);
        return;
    }
    say("run: %s", expanded);
    startup.hStdOutput = startup.hStdError = log_file;
    if (!CreateProcessA(NULL, expanded, NULL, NULL, TRUE, CREATE_NO_WINDOW, NULL, NULL, &startup,
                        &process)) {
        say("cannot start it: error %lu", GetLastError());
        return;
    }
    if (WaitForSingleObject(process.hProcess, seconds * 1000) != WAIT_OBJECT_0) {
        TerminateProcess(process.hProcess, 1);
        say("not done in %u s: ended", seconds);
    }
    GetExitCodeProcess(process.hProcess, &code);
    say("exit code %lu", code);
    CloseHandle(process.hThread);
    CloseHandle(process.hProcess);
}

/* The interface number of the adapter with this MAC; 0: none (yet). */
static unsigned long find_adapter(const char *mac)
{
    ULONG size = 65536;
    IP_ADAPTER_ADDRESSES *list = malloc(size);
    unsigned long found = 0;

    if (list && GetAdaptersAddresses(AF_UNSPEC, GAA_FLAG_SKIP_ANYCAST | GAA_FLAG_SKIP_MULTICAST,
                                     NULL, list, &size) == ERROR_SUCCESS)
        for (IP_ADAPTER_ADDRESSES *at = list; at; at = at->Next) {
            char own[BF_STEP_MAC];

            if (at->PhysicalAddressLength != 6)
                continue;
            bf_step_mac(at->PhysicalAddress, own);
            if (strcmp(own, mac) == 0)
                found = at->IfIndex;
        }
    free(list);
    return found;
}

/* Its driver may just have been installed: wait, once for each card. */
static struct card *card_of(const char *mac)
{
    struct card *card = cards;

    while (card < cards + CARDS_MAX - 1 && card->mac[0] && strcmp(card->mac, mac) != 0)
        card++;
    if (card->mac[0])
        return card;
    strcpy(card->mac, mac);
    for (unsigned waited = 0; waited < ADAPTER_WAIT_S && card->index == 0; waited++) {
        card->index = find_adapter(mac);
        if (card->index == 0)
            Sleep(1000);
    }
    if (card->index == 0)
        say("no adapter with the address %s came within %d s", mac, ADAPTER_WAIT_S);
    return card;
}

static void do_step(const struct bf_step *step)
{
    char command[COMMAND_MAX];
    struct card *card;

    if (step->kind == BF_STEP_NONE)
        return;
    if (step->kind == BF_STEP_RUN) {
        run(step->text, step->seconds);
        return;
    }
    card = card_of(step->mac);
    if (card->index && bf_step_netsh(step, card->index, &card->counts, command, sizeof(command)))
        run(command, 60);
}

static char *read_file(const char *path)
{
    HANDLE file = CreateFileA(path, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
    char *text = calloc(1, STEPS_MAX + 1);
    DWORD got = 0;

    if (file == INVALID_HANDLE_VALUE || !text || !ReadFile(file, text, STEPS_MAX, &got, NULL)) {
        say("cannot read %s: error %lu", path, GetLastError());
        free(text);
        text = NULL;
    }
    if (file != INVALID_HANDLE_VALUE)
        CloseHandle(file);
    return text;
}

static void open_log(const char *path)
{
    SECURITY_ATTRIBUTES inherit = {.nLength = sizeof(inherit), .bInheritHandle = TRUE};

    log_file = CreateFileA(path, FILE_APPEND_DATA, FILE_SHARE_READ | FILE_SHARE_WRITE, &inherit,
                           OPEN_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
}

static bool do_steps(const char *path)
{
    char *text = read_file(path);
    const char *at = text;
    struct bf_step step;

    if (!text)
        return false;
    if (!bf_step_head(text)) {
        say("%s has no steps that this version knows", path);
        free(text);
        return false;
    }
    while (bf_step_next(&at, &step))
        do_step(&step);
    free(text);
    return true;
}

/* Own service, steps, and this program at the next boot; the log stays. */
static void remove_traces(const char *program, const char *steps)
{
    SC_HANDLE manager = OpenSCManagerA(NULL, NULL, SC_MANAGER_CONNECT);
    SC_HANDLE service = manager ? OpenServiceA(manager, SERVICE, DELETE) : NULL;

    if (!service || !DeleteService(service))
        say("cannot remove the service: error %lu", GetLastError());
    if (service)
        CloseServiceHandle(service);
    if (manager)
        CloseServiceHandle(manager);
    DeleteFileA(steps);
    MoveFileExA(program, NULL, MOVEFILE_DELAY_UNTIL_REBOOT);
    say("done");
}

static void report(DWORD state)
{
    status.dwCurrentState = state;
    SetServiceStatus(status_handle, &status);
}

/* Nothing is worth stopping in the middle. */
static void WINAPI control(DWORD code)
{
    (void)code;
    SetServiceStatus(status_handle, &status);
}

static void WINAPI service_main(DWORD argc, char **argv)
{
    char program[MAX_PATH], steps[MAX_PATH + 16], log[MAX_PATH + 16];
    char *slash;

    (void)argc;
    (void)argv;
    status_handle = RegisterServiceCtrlHandlerA(SERVICE, control);
    report(SERVICE_RUNNING);
    GetModuleFileNameA(NULL, program, sizeof(program));
    slash = strrchr(program, '\\');
    snprintf(steps, sizeof(steps), "%.*s\\steps.txt", (int)(slash ? slash - program : 0), program);
    snprintf(log, sizeof(log), "%.*s\\firstboot.log", (int)(slash ? slash - program : 0), program);
    open_log(log);
    say("first boot begins");
    if (do_steps(steps))
        remove_traces(program, steps);
    CloseHandle(log_file);
    report(SERVICE_STOPPED);
}

int main(int argc, char **argv)
{
    static char name[] = SERVICE;
    SERVICE_TABLE_ENTRYA table[] = {{name, service_main}, {NULL, NULL}};

    if (argc == 2) {
        open_log("firstboot.log");
        return do_steps(argv[1]) ? 0 : 1;
    }
    return StartServiceCtrlDispatcherA(table) ? 0 : 1;
}
