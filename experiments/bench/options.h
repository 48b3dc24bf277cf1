/* The command line of the measuring programs: PROGRAM NAME [--OPTION VALUE]... */
#ifndef EXPERIMENTS_BENCH_OPTIONS_H
#define EXPERIMENTS_BENCH_OPTIONS_H

#include "experiments/bench/folder.h"
#include "tensor/gemm.h"

/* An option that is a number from 1 to 2^20; what it is now is its default. */
struct bench_number {
    const char *name, *what;
    long *at;
};

struct bench_options {
    struct bench_base base; /* layers is the number of that name, where the program has one */
    enum compute compute;
    const char *spill; /* a folder, or NULL */
};

/* 0; or 2 after saying on stderr how the program is used. n: numbers, in the order of the help. */
int bench_options_read(struct bench_options *o, const char *program, const struct bench_number *v,
                       long n, int argc, char **argv);

#endif
