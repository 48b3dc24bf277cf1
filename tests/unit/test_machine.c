/* Cores and memory as made-up /proc and /sys trees tell them. */
#include "config.h"
#include "core/file.h"
#include "core/machine.h"
#include "tests/tap.h"

static char root[] = "/tmp/pesc-machine-XXXXXX";

static void put(const char *path, const char *text)
{
    char full[PATH_CAP];
    struct pesc_error err = {0};
    snprintf(full, sizeof full, "%s%s", root, path);
    char *slash = strrchr(full, '/');
    *slash = 0;
    int rc = dir_make_all(full, &err);
    *slash = '/';
    if (rc != 0 || file_write(full, text, strlen(text), &err) != 0) {
        printf("Bail out! %s\n", err.text);
        exit(99);
    }
}

static void clean(void)
{
    struct pesc_error err = {0};
    if (dir_remove_all(root, &err) != 0 || dir_make(root, &err) != 0)
        diag("%s", err.text);
}

static void test_cpus(void)
{
    struct machine_cpus c;
    machine_cpus(root, &c);
    long allowed = c.allowed;
    ok(allowed >= 1 && c.online >= allowed, "the affinity mask has processors");
    ok(c.cores == allowed, "without a topology each processor is a core");
    ok(c.quota == 0 && c.usable == allowed, "without control groups all are usable");
    for (int cpu = 0; cpu < 256; cpu++) {
        char path[128];
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list",
                 cpu);
        put(path, "0-255\n");
    }
    machine_cpus(root, &c);
    ok(c.cores == 1 && c.usable == 1, "siblings are one core");
    clean();

    put("/proc/self/cgroup", "0::/a/b\n");
    put("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    machine_cpus(root, &c);
    ok(c.quota == 0, "v2: max is no limit");
    put("/sys/fs/cgroup/a/cpu.max", "150000 100000\n");
    machine_cpus(root, &c);
    ok(c.quota == 1.5 && c.usable == 1, "v2: the parent's quota, rounded down");
    put("/sys/fs/cgroup/a/b/cpu.max", "250000 100000\n");
    machine_cpus(root, &c);
    ok(c.quota == 1.5, "v2: a wider quota below changes nothing");
    put("/sys/fs/cgroup/a/b/cpu.max", "50000 100000\n");
    machine_cpus(root, &c);
    ok(c.quota == 0.5 && c.usable == 1, "v2: the tightest counts, at least one thread");
    clean();

    put("/proc/self/cgroup", "12:memory:/x\n4:cpu,cpuacct:/docker/0123\n0::/y\n");
    put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    machine_cpus(root, &c);
    ok(c.quota == 0, "v1: -1 is no limit");
    put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "125000\n");
    machine_cpus(root, &c);
    ok(c.quota == 1.25, "v1: the top of a mount whose path is the host's");
    clean();
}

static void test_memory(void)
{
    static const char stat[] = "anon 1\ninactive_file 1000000\nactive_file 500000\n";
    struct machine_memory m;
    put("/proc/meminfo", "MemTotal:  8000000 kB\nMemFree: 1 kB\nMemAvailable:   6000000 kB\n");
    machine_memory(root, &m);
    ok(m.total == 8192000000u && m.available == 6144000000u, "meminfo");
    ok(m.usable == m.available && m.group_limit == 0, "no group, no limit");
    put("/proc/self/cgroup", "0::/a\n");
    put("/sys/fs/cgroup/a/memory.max", "4000000000\n");
    put("/sys/fs/cgroup/a/memory.current", "2000000000\n");
    put("/sys/fs/cgroup/a/memory.stat", stat);
    machine_memory(root, &m);
    ok(m.group_limit == 4000000000u, "v2: the limit");
    ok(m.usable == 2001500000u, "v2: page cache does not count as used");
    put("/sys/fs/cgroup/a/memory.current", "5000000000\n");
    machine_memory(root, &m);
    ok(m.usable == 0, "v2: nothing left");
    put("/sys/fs/cgroup/a/memory.max", "max\n");
    machine_memory(root, &m);
    ok(m.group_limit == 0 && m.usable == 6144000000u, "v2: max");
    clean();
    put("/proc/meminfo", "MemTotal:  8000000 kB\nMemAvailable:   6000000 kB\n");
    put("/proc/self/cgroup", "3:memory:/m\n");
    put("/sys/fs/cgroup/memory/m/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "3000000000\n");
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "1000000000\n");
    machine_memory(root, &m);
    ok(m.group_limit == 3000000000u && m.usable == 2000000000u, "v1: the one real limit");
    clean();
    machine_memory(root, &m);
    ok(m.total == 0 && m.usable == 0, "unknown is 0");
}

static void test_texts(void)
{
    char buf[256];
    put("/proc/cpuinfo", "processor\t: 0\nmodel name\t: A CPU @ 2 GHz\nflags\t\t: fpu avx avx2 fma "
                         "avx512f avx512_bf16 amx_tile\n\nprocessor\t: 1\nflags\t: amx_int8\n");
    put("/etc/os-release", "NAME=\"X\"\nPRETTY_NAME=\"Some Linux 12\"\n");
    is_str(machine_cpu_model(root, buf, sizeof buf), "A CPU @ 2 GHz", "model");
    is_str(machine_isa(root, buf, sizeof buf), "avx2 fma avx512f avx512_bf16 amx_tile", "features");
    ok(machine_cpu_has(root, "avx") && machine_cpu_has(root, "amx_tile"), "flags are found");
    ok(!machine_cpu_has(root, "avx51") && !machine_cpu_has(root, "amx_int8") &&
           !machine_cpu_has(root, "vx2"),
       "whole words of the first processor only");
    ok(!strncmp(machine_os(root, buf, sizeof buf), "Some Linux 12, Linux ", 21), "system");
    clean();
    is_str(machine_cpu_model(root, buf, sizeof buf), "unknown", "no cpuinfo");
    is_str(machine_isa(root, buf, sizeof buf), "baseline", "no features");
}

int main(void)
{
    if (!mkdtemp(root))
        return 99;
    test_cpus();
    test_memory();
    test_texts();
    uint64_t before = machine_peak_rss();
    volatile char *p = malloc(64 << 20);
    for (long i = 0; i < 64 << 20; i += 1024)
        p[i] = 1;
    ok(before > 100000 && machine_peak_rss() >= before + (32u << 20) && p[1024] == 1,
       "the peak follows what is touched");
    free((void *)p);
    ok(machine_cores() >= 1 && machine_memory_limit() > 0, "the real machine");
    struct pesc_error err = {0};
    ok(dir_remove_all(root, &err) == 0, "cleaned up");
    return tap_done();
}
