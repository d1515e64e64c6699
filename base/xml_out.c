/* SPDX-License-Identifier: Apache-2.0 */
/* XML out: a builder that escapes. */
#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/xml.h"

static void add_text(struct bf_buf *buf, const char *text)
{
    bf_buf_add(buf, text, strlen(text));
}

/* XML 1.0, 2.2: of the control characters only tab, line feed and carriage return may occur at
 * all, and U+FFFE and U+FFFF never. */
static bool is_forbidden(const char *at, size_t step)
{
    unsigned char c = (unsigned char)*at;

    if (step == 0)
        return true;
    if (step == 3)
        return memcmp(at, "\xef\xbf\xbe", 3) == 0 || memcmp(at, "\xef\xbf\xbf", 3) == 0;
    return c < 0x20 && c != '\t' && c != '\n' && c != '\r';
}

static const char *entity_of(char c, bool in_attribute)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '\r':
        return "&#13;"; /* a reader turns a bare one into a line feed */
    case '"':
        return in_attribute ? "&quot;" : NULL;
    case '\t':
        return in_attribute ? "&#9;" : NULL; /* else normalised to a blank */
    case '\n':
        return in_attribute ? "&#10;" : NULL;
    default:
        return NULL;
    }
}

static void add_escaped(struct bf_buf *buf, const char *text, bool in_attribute)
{
    size_t left = strlen(text);

    while (left) {
        size_t step = bf_utf8_next(text, left);
        const char *entity = entity_of(*text, in_attribute);

        if (is_forbidden(text, step))
            add_text(buf, "?");
        else if (entity)
            add_text(buf, entity);
        else
            bf_buf_add(buf, text, step);
        text += step ? step : 1;
        left -= step ? step : 1;
    }
}

static void end_tag(struct bf_xml_out *out)
{
    if (out->tag_open)
        add_text(&out->buf, ">");
    out->tag_open = false;
}

void bf_xml_open(struct bf_xml_out *out, const char *name)
{
    assert(out->depth < bf_array_length(out->stack));
    end_tag(out);
    bf_buf_addf(&out->buf, "<%s", name);
    out->stack[out->depth++] = bf_xstrdup(name);
    out->tag_open = true;
}

void bf_xml_attr(struct bf_xml_out *out, const char *name, const char *value)
{
    assert(out->tag_open);
    if (!value)
        return;
    bf_buf_addf(&out->buf, " %s=\"", name);
    add_escaped(&out->buf, value, true);
    add_text(&out->buf, "\"");
}

void bf_xml_attrf(struct bf_xml_out *out, const char *name, const char *format, ...)
{
    bf_auto_free char *value = NULL;
    va_list args;

    va_start(args, format);
    value = bf_xvasprintf(format, args);
    va_end(args);
    bf_xml_attr(out, name, value);
}

void bf_xml_content(struct bf_xml_out *out, const char *text)
{
    assert(out->depth > 0);
    if (!text)
        return;
    end_tag(out);
    add_escaped(&out->buf, text, false);
}

void bf_xml_close(struct bf_xml_out *out)
{
    bf_auto_free char *name = NULL;

    assert(out->depth > 0);
    name = out->stack[--out->depth];
    out->stack[out->depth] = NULL;
    if (out->tag_open)
        add_text(&out->buf, "/>");
    else
        bf_buf_addf(&out->buf, "</%s>", name);
    out->tag_open = false;
}

void bf_xml_leaf(struct bf_xml_out *out, const char *name, const char *text)
{
    if (!text)
        return;
    bf_xml_open(out, name);
    bf_xml_content(out, text);
    bf_xml_close(out);
}

void bf_xml_empty(struct bf_xml_out *out, const char *name, ...)
{
    const char *attribute;
    va_list args;

    bf_xml_open(out, name);
    va_start(args, name);
    while ((attribute = va_arg(args, const char *)))
        bf_xml_attr(out, attribute, va_arg(args, const char *));
    va_end(args);
    bf_xml_close(out);
}

char *bf_xml_finish(struct bf_xml_out *out)
{
    char *text;

    assert(out->depth == 0);
    text = out->buf.text ? out->buf.text : bf_xstrdup("");
    *out = (struct bf_xml_out){0};
    return text;
}

void bf_xml_out_done(struct bf_xml_out *out)
{
    while (out->depth)
        free(out->stack[--out->depth]);
    bf_buf_done(&out->buf);
    *out = (struct bf_xml_out){0};
}
