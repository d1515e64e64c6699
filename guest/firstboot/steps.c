/* SPDX-License-Identifier: Apache-2.0 */
#include "steps.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD "blockferry-firstboot 1"
#define SECONDS_MAX 3600

bool bf_step_head(const char *text)
{
    size_t length = strlen(HEAD);

    return strncmp(text, HEAD, length) == 0 && (text[length] == '\r' || text[length] == '\n');
}

/* Take one word from the line into `word`; false: none, or too long. */
static bool take(const char **line, char *word, size_t size)
{
    size_t length = 0;

    while (**line == ' ')
        (*line)++;
    for (; **line && **line != ' '; (*line)++) {
        if (length + 1 >= size)
            return false;
        word[length++] = **line;
    }
    word[length] = '\0';
    return length > 0;
}

static bool is_address(const char *text)
{
    return *text && strspn(text, "0123456789.") == strlen(text);
}

static bool read_run(const char *line, struct bf_step *step)
{
    char seconds[8];

    if (!take(&line, seconds, sizeof(seconds)))
        return false;
    step->seconds = (unsigned)atoi(seconds);
    line += strspn(line, " ");
    if (!*line || strlen(line) >= sizeof(step->text) || step->seconds == 0 ||
        step->seconds > SECONDS_MAX)
        return false;
    strcpy(step->text, line);
    return true;
}

static bool read_network(const char *line, struct bf_step *step)
{
    if (!take(&line, step->mac, sizeof(step->mac)) || strlen(step->mac) != BF_STEP_MAC - 1 ||
        !take(&line, step->text, 16) || !is_address(step->text))
        return false;
    for (char *at = step->mac; *at; at++)
        *at = (char)tolower((unsigned char)*at);
    return step->kind != BF_STEP_ADDRESS ||
           (take(&line, step->mask, sizeof(step->mask)) && is_address(step->mask));
}

static void read_line(const char *line, struct bf_step *step)
{
    static const struct {
        const char *word;
        enum bf_step_kind kind;
    } kinds[] = {{"run", BF_STEP_RUN},
                 {"address", BF_STEP_ADDRESS},
                 {"gateway", BF_STEP_GATEWAY},
                 {"dns", BF_STEP_DNS}};
    char word[16];

    if (!take(&line, word, sizeof(word)))
        return;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(word, kinds[i].word) == 0)
            step->kind = kinds[i].kind;
    if (step->kind == BF_STEP_NONE)
        return;
    if (!(step->kind == BF_STEP_RUN ? read_run(line, step) : read_network(line, step)))
        step->kind = BF_STEP_NONE;
}

bool bf_step_next(const char **text_io, struct bf_step *ret_step)
{
    const char *text = *text_io;
    size_t length = strcspn(text, "\r\n");
    char line[BF_STEP_TEXT + 64];

    memset(ret_step, 0, sizeof(*ret_step));
    if (!*text)
        return false;
    if (length < sizeof(line)) {
        memcpy(line, text, length);
        line[length] = '\0';
        read_line(line, ret_step);
    }
    text += length;
    *text_io = text + (*text == '\r') + (text[*text == '\r'] == '\n');
    return true;
}

bool bf_step_netsh(const struct bf_step *step, unsigned long interface_index,
                   struct bf_step_counts *counts, char *ret_command, size_t size)
{
    static const char netsh[] = "\"%SystemRoot%\\System32\\netsh.exe\" interface ipv4";
    int length = -1;

    switch (step->kind) {
    case BF_STEP_ADDRESS:
        length = snprintf(ret_command, size, "%s %s address name=%lu %saddress=%s mask=%s", netsh,
                          counts->addresses ? "add" : "set", interface_index,
                          counts->addresses ? "" : "source=static ", step->text, step->mask);
        counts->addresses++;
        break;
    case BF_STEP_GATEWAY:
        length = snprintf(ret_command, size, "%s add address name=%lu gateway=%s gwmetric=%u",
                          netsh, interface_index, step->text, ++counts->gateways);
        break;
    case BF_STEP_DNS:
        length = snprintf(ret_command, size, "%s %s dnsservers name=%lu %saddress=%s validate=no",
                          netsh, counts->servers ? "add" : "set", interface_index,
                          counts->servers ? "" : "source=static ", step->text);
        counts->servers++;
        break;
    case BF_STEP_NONE:
    case BF_STEP_RUN:
    default:
        return false;
    }
    return length > 0 && (size_t)length < size;
}

void bf_step_mac(const unsigned char *bytes, char ret_mac[BF_STEP_MAC])
{
    snprintf(ret_mac, BF_STEP_MAC, "%02x:%02x:%02x:%02x:%02x:%02x", bytes[0], bytes[1], bytes[2],
             bytes[3], bytes[4], bytes[5]);
}
