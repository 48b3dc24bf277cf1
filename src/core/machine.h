/* What machine this is and how much of it this process may use, as Linux tells in /proc and /sys.
 * root is put before every path ("" is the real machine; tests give a folder of their own). What
 * cannot be found out is 0, or "unknown". */
#ifndef PESC_CORE_MACHINE_H
#define PESC_CORE_MACHINE_H

#include <stddef.h>
#include <stdint.h>

struct machine_cpus {
    long online;  /* logical processors of the machine */
    long allowed; /* of those, the ones in the affinity mask */
    long cores;   /* physical cores that the allowed ones stand on */
    double quota; /* processors that the control groups grant; 0: no limit */
    long usable;  /* threads that make sense: cores within the quota, at least 1 */
};
void machine_cpus(const char *root, struct machine_cpus *c);
long machine_cores(void); /* usable, of the real machine */

struct machine_memory {        /* bytes */
    uint64_t total, available; /* of the machine; available without swapping */
    uint64_t group_limit;      /* the tightest control group's limit; 0: none */
    uint64_t usable;           /* what this process can still take within both */
};
void machine_memory(const char *root, struct machine_memory *m);
/* usable, of the real machine, and within the address space that is left */
uint64_t machine_memory_limit(void);
uint64_t machine_address_room(void); /* that (RLIMIT_AS); UINT64_MAX: no limit */

uint64_t machine_peak_rss(void); /* bytes: the most this process has held (VmHWM) */
uint64_t machine_rss(void);      /* bytes: what it holds now (VmRSS) */

/* Texts, into buf of n bytes; they return buf. */
const char *machine_cpu_model(const char *root, char *buf, size_t n);
const char *machine_isa(const char *root, char *buf, size_t n); /* "avx2 fma avx512f ..." */
const char *machine_os(const char *root, char *buf, size_t n);  /* distribution and kernel */
const char *machine_host(char *buf, size_t n);
/* Whether /proc/cpuinfo has this flag. */
int machine_cpu_has(const char *root, const char *flag);

#endif
