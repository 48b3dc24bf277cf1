#include "config.h"
#include "core/number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void number_text(double x, char out[NUMBER_CAP])
{
    char buf[64];
    for (int p = 1; p <= 17; p++) {
        snprintf(buf, sizeof buf, "%.*g", p, x);
        if (strtod(buf, NULL) == x)
            break;
    }
    /* Whatever the locale puts between the digits is the decimal point. */
    size_t o = 0;
    for (const char *s = buf; *s && o < NUMBER_CAP - 1; s++) {
        if (strchr("0123456789e+-", *s))
            out[o++] = *s;
        else if (o == 0 || out[o - 1] != '.')
            out[o++] = '.';
    }
    out[o] = 0;
}

static const char *digits(const char *s)
{
    return s + strspn(s, "0123456789");
}

int number_parse(const char *text, double *x)
{
    const char *s = text + (*text == '-'), *end = digits(s);
    if (end == s || (*s == '0' && end > s + 1))
        return -1;
    if (*end == '.') {
        s = end + 1;
        end = digits(s);
        if (end == s)
            return -1;
    }
    if (*end == 'e' || *end == 'E') {
        s = end + 1;
        s += *s == '+' || *s == '-';
        end = digits(s);
        if (end == s)
            return -1;
    }
    if (*end)
        return -1;
    *x = strtod(text, NULL);
    return isfinite(*x) ? 0 : -1;
}
