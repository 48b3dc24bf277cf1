#include "config.h"
#include "core/machine.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { TEXT_CAP = 1 << 14, PATH_LEN = 4096, CPUS_CAP = 8192 };

/* The beginning of a file as text; 0, or -1 when it cannot be read. Files of /proc have no size. */
static int slurp(const char *root, const char *path, char *buf, size_t cap)
{
    char full[PATH_LEN];
    size_t n = 0;
    buf[0] = 0;
    if (snprintf(full, sizeof full, "%s%s", root, path) >= (int)sizeof full)
        return -1;
    int fd = open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -1;
    ssize_t got = 0;
    while (n + 1 < cap && (got = read(fd, buf + n, cap - 1 - n)) > 0)
        n += (size_t)got;
    close(fd);
    buf[n] = 0;
    return got < 0 ? -1 : 0;
}

/* The text behind "key" and what separates it, up to the end of the line; NULL when not there. */
static const char *field(const char *text, const char *key, size_t *len)
{
    size_t n = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        if (strncmp(line, key, n) != 0 || !strchr(" \t:=", line[n]))
            continue;
        const char *v = line + n + strspn(line + n, " \t:=");
        *len = strcspn(v, "\n");
        return v;
    }
    return NULL;
}

static uint64_t field_number(const char *text, const char *key, uint64_t unit)
{
    size_t len;
    const char *v = field(text, key, &len);
    return v ? strtoull(v, NULL, 10) * unit : 0;
}

/* Control groups, version 2 (one tree) and version 1 (a tree for each controller). */

/* This process's group below the controller's mount point; version 2 when controller is NULL. */
static int group_path(const char *root, const char *controller, char *out, size_t cap)
{
    char text[TEXT_CAP];
    if (slurp(root, "/proc/self/cgroup", text, sizeof text) != 0)
        return -1;
    for (char *line = text; line && *line;) {
        char *end = strchr(line, '\n'), *names = strchr(line, ':');
        if (end)
            *end = 0;
        char *path = names ? strchr(names + 1, ':') : NULL;
        if (path) {
            *path++ = 0;
            names++;
            int match = !controller && !*names;
            for (char *save = NULL, *name = strtok_r(names, ",", &save); controller && name;
                 name = strtok_r(NULL, ",", &save))
                match |= !strcmp(name, controller);
            if (match) {
                snprintf(out, cap, "%s", strcmp(path, "/") ? path : "");
                return 0;
            }
        }
        line = end ? end + 1 : NULL;
    }
    return -1;
}

struct group_file {
    const char *root, *mount, *path; /* path: of the group, "" is the top */
};

static int group_read(const struct group_file *g, const char *file, char *buf, size_t cap)
{
    char path[PATH_LEN];
    if (snprintf(path, sizeof path, "%s%s/%s", g->mount, g->path, file) >= (int)sizeof path)
        return -1;
    return slurp(g->root, path, buf, cap);
}

/* The first number of a file; 0 for "max", -1 and what is missing. */
static double group_number(const struct group_file *g, const char *file)
{
    char text[256];
    if (group_read(g, file, text, sizeof text) != 0)
        return 0;
    double x = strtod(text, NULL);
    return x > 0 ? x : 0;
}

static void cpu_level(const struct group_file *g, int v2, void *out)
{
    char text[256], *end;
    double quota = 0, period = 0;
    if (v2 && group_read(g, "cpu.max", text, sizeof text) == 0) {
        quota = strtod(text, &end);
        period = end != text ? strtod(end, NULL) : 0;
    } else if (!v2) {
        quota = group_number(g, "cpu.cfs_quota_us");
        period = group_number(g, "cpu.cfs_period_us");
    }
    double *least = out;
    if (quota > 0 && period > 0 && (*least == 0 || quota / period < *least))
        *least = quota / period;
}

/* A group's page cache can be dropped, so it does not count as used. */
static void memory_level(const struct group_file *g, int v2, void *out)
{
    struct machine_memory *m = out;
    char stat[TEXT_CAP];
    double limit = group_number(g, v2 ? "memory.max" : "memory.limit_in_bytes");
    if (limit <= 0 || limit >= (double)m->total)
        return;
    double used = group_number(g, v2 ? "memory.current" : "memory.usage_in_bytes");
    if (group_read(g, "memory.stat", stat, sizeof stat) == 0)
        used -= (double)field_number(stat, v2 ? "inactive_file" : "total_inactive_file", 1) +
                (double)field_number(stat, v2 ? "active_file" : "total_active_file", 1);
    double rest = used <= 0 ? limit : used < limit ? limit - used : 0;
    if (m->group_limit == 0 || limit < (double)m->group_limit)
        m->group_limit = (uint64_t)limit;
    if (rest < (double)m->usable)
        m->usable = (uint64_t)rest;
}

/* Calls level for the process's group and all above it: each may be the tightest. Inside a
 * container the path may be the host's; its upper part is then missing and the top remains. */
static void walk_groups(const char *root, const char *controller,
                        void (*level)(const struct group_file *, int v2, void *), void *out)
{
    char mounts[3][64], path[PATH_LEN];
    snprintf(mounts[0], sizeof mounts[0], "/sys/fs/cgroup");
    snprintf(mounts[1], sizeof mounts[1], "/sys/fs/cgroup/unified");
    snprintf(mounts[2], sizeof mounts[2], "/sys/fs/cgroup/%s", controller);
    for (int i = 0; i < 3; i++) {
        int v2 = i < 2;
        if (group_path(root, v2 ? NULL : controller, path, sizeof path) != 0)
            continue;
        for (;;) {
            level(&(struct group_file){root, mounts[i], path}, v2, out);
            char *slash = strrchr(path, '/');
            if (!slash)
                break;
            *slash = 0;
        }
    }
}

void machine_cpus(const char *root, struct machine_cpus *c)
{
    size_t size = CPU_ALLOC_SIZE(CPUS_CAP);
    cpu_set_t *mask = CPU_ALLOC(CPUS_CAP), *first = CPU_ALLOC(CPUS_CAP);
    memset(c, 0, sizeof *c);
    c->online = sysconf(_SC_NPROCESSORS_ONLN);
    if (mask && first && sched_getaffinity(0, size, mask) == 0) {
        CPU_ZERO_S(size, first);
        c->allowed = CPU_COUNT_S(size, mask);
        for (int cpu = 0; cpu < CPUS_CAP; cpu++) {
            char path[128], text[256];
            if (!CPU_ISSET_S((size_t)cpu, size, mask))
                continue;
            snprintf(path, sizeof path,
                     "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
            /* Siblings of one core share the list; its first number stands for the core. */
            long core =
                slurp(root, path, text, sizeof text) == 0 && *text ? strtol(text, NULL, 10) : cpu;
            if (core < 0 || core >= CPUS_CAP)
                core = cpu;
            CPU_SET_S((size_t)core, size, first);
        }
        c->cores = CPU_COUNT_S(size, first);
    }
    CPU_FREE(mask);
    CPU_FREE(first);
    walk_groups(root, "cpu", cpu_level, &c->quota);
    c->usable = c->cores > 0 ? c->cores : c->online;
    if (c->quota > 0 && c->quota < (double)c->usable)
        c->usable = (long)c->quota;
    if (c->usable < 1)
        c->usable = 1;
}

long machine_cores(void)
{
    struct machine_cpus c;
    machine_cpus("", &c);
    return c.usable;
}

void machine_memory(const char *root, struct machine_memory *m)
{
    char text[TEXT_CAP];
    memset(m, 0, sizeof *m);
    if (slurp(root, "/proc/meminfo", text, sizeof text) == 0) {
        m->total = field_number(text, "MemTotal", 1024);
        m->available = field_number(text, "MemAvailable", 1024);
    }
    m->usable = m->available;
    walk_groups(root, "memory", memory_level, m);
}

static uint64_t own_status(const char *field)
{
    char text[TEXT_CAP];
    return slurp("", "/proc/self/status", text, sizeof text) == 0 ? field_number(text, field, 1024)
                                                                  : 0;
}

uint64_t machine_address_room(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return UINT64_MAX;
    uint64_t used = own_status("VmSize");
    return used < limit.rlim_cur ? limit.rlim_cur - used : 0;
}

uint64_t machine_memory_limit(void)
{
    struct machine_memory m;
    machine_memory("", &m);
    uint64_t room = machine_address_room();
    return room < m.usable || (!m.usable && room != UINT64_MAX) ? room : m.usable;
}

uint64_t machine_peak_rss(void)
{
    return own_status("VmHWM");
}

uint64_t machine_rss(void)
{
    return own_status("VmRSS");
}

static const char *put(char *buf, size_t n, const char *v, size_t len)
{
    if (v && len)
        snprintf(buf, n, "%.*s", (int)len, v);
    else
        snprintf(buf, n, "unknown");
    return buf;
}

const char *machine_cpu_model(const char *root, char *buf, size_t n)
{
    char text[TEXT_CAP];
    size_t len = 0;
    slurp(root, "/proc/cpuinfo", text, sizeof text);
    const char *v = field(text, "model name", &len);
    return put(buf, n, v, len);
}

int machine_cpu_has(const char *root, const char *flag)
{
    char text[TEXT_CAP];
    size_t len = 0, n = strlen(flag);
    slurp(root, "/proc/cpuinfo", text, sizeof text);
    const char *v = field(text, "flags", &len);
    if (!v)
        v = field(text, "Features", &len);
    for (const char *p = v, *end = v ? v + len : NULL; p && p < end; p += strcspn(p, " \n") + 1)
        if (!strncmp(p, flag, n) && (p + n == end || p[n] == ' '))
            return 1;
    return 0;
}

const char *machine_isa(const char *root, char *buf, size_t n)
{
    static const char *const flags[] = {"avx2",        "fma",         "avx512f",
                                        "avx512_bf16", "avx512_vnni", "avx_vnni",
                                        "amx_tile",    "amx_bf16",    "amx_int8"};
    size_t used = 0;
    buf[0] = 0;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (machine_cpu_has(root, flags[i]) && used + strlen(flags[i]) + 2 <= n)
            used += (size_t)snprintf(buf + used, n - used, "%s%s", used ? " " : "", flags[i]);
    if (!used)
        snprintf(buf, n, "baseline");
    return buf;
}

const char *machine_os(const char *root, char *buf, size_t n)
{
    char text[TEXT_CAP], name[128];
    struct utsname u;
    size_t len = 0;
    slurp(root, "/etc/os-release", text, sizeof text);
    const char *v = field(text, "PRETTY_NAME", &len);
    if (v && len >= 2 && *v == '"') {
        v++;
        len -= 2;
    }
    put(name, sizeof name, v, len);
    snprintf(buf, n, "%s, Linux %s", name, uname(&u) == 0 ? u.release : "unknown");
    return buf;
}

const char *machine_host(char *buf, size_t n)
{
    struct utsname u;
    snprintf(buf, n, "%s", uname(&u) == 0 ? u.nodename : "unknown");
    return buf;
}
