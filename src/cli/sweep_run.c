/* The runs of a sweep as processes of their own: each has all that a run has - a folder, a lock, a
 * row in the history - and one that fails or is killed takes no other with it. */
#include "config.h"
#include "cli/sweep.h"

#include "core/file.h"
#include "core/machine.h"
#include "experiments/rundir.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { JOBS_MOST = 256, EXTRA_ARGS = 4 };

struct job {
    const struct trial *trial; /* NULL: free */
    pid_t pid;
    long number;
    double began;
};

struct pool {
    const struct sweep *s;
    struct cli *cli;
    sigset_t outside; /* signals that a run must not inherit as blocked */
    struct job job[JOBS_MOST];
    long jobs, busy, next, failed, done;
    long threads;    /* of each run */
    uint64_t memory; /* of each run, bytes; 0: as it finds it */
    int stopped;     /* the signal */
    pid_t parent;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

const char *sweep_status(const struct sweep *s, const struct trial *t, char text[32])
{
    char dir[PATH_CAP];
    if (path_join(dir, s->dir, t->name, NULL) != 0)
        return NULL;
    json_t *run = rundir_read_run(dir, NULL);
    const char *status = json_string_value(json_object_get(run, "status"));
    if (status)
        snprintf(text, 32, "%s", status);
    json_decref(run);
    return status ? text : NULL;
}

static int is_finished(const struct sweep *s, const struct trial *t)
{
    char text[32];
    const char *status = sweep_status(s, t, text);
    return status && !strcmp(status, "finished");
}

/* --- DIR --- */

static int lock_dir(const char *dir, int *fd, struct pesc_error *err)
{
    char path[PATH_CAP];
    TRY(dir_make(dir, err));
    TRY(path_join(path, dir, ".sweep.lock", err));
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (*fd < 0)
        return file_fail(err, path, "open");
    if (flock(*fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    close(*fd);
    *fd = -1;
    return FAIL(err, RUN_BUSY, "%s: another sweep is at work there", dir);
}

/* Runs of an earlier file that this one has no more: they stay, and are told about. */
static long left_over(const struct sweep *s, const char *path)
{
    long n = 0;
    json_t *before = path_exists(path) ? json_file(path, 64 << 20, PESC_E_CK_CORRUPT, NULL) : NULL;
    const json_t *list = json_object_get(before, "runs"), *one;
    size_t i;
    json_array_foreach(list, i, one)
    {
        const char *name = json_string_value(json_object_get(one, "name"));
        int there = 0;
        for (long k = 0; k < s->n && name; k++)
            there |= !strcmp(s->trials[k].name, name);
        n += name && !there;
    }
    json_decref(before);
    return n;
}

static int write_list(struct cli *cli, const struct sweep *s, struct pesc_error *err)
{
    char path[PATH_CAP];
    TRY(path_join(path, s->dir, "sweep.json", err));
    long others = left_over(s, path);
    if (others)
        fprintf(cli->talk, "%s: %ld earlier run%s not in the file any more: kept, not ranked\n",
                s->dir, others, others == 1 ? " is" : "s are");
    json_t *list = json_array();
    for (long i = 0; i < s->n; i++) {
        const struct trial *t = &s->trials[i];
        json_t *args = json_array();
        for (long a = 0; a < t->n_args; a++)
            json_add(&args, json_string(t->args[a]));
        json_add(&list, json_pack("{s:s, s:s, s:o, s:o}", "name", t->name, "hash", t->hash,
                                  "values", json_copy_deep(t->values), "args", args));
    }
    json_t *all = json_pack("{s:i, s:o}", "pesc_sweep", 1, "runs", list);
    char *text = all ? json_canonical(all) : NULL;
    json_decref(all);
    if (!text)
        return FAIL(err, MEMORY, "no memory for a sweep's list");
    int rc = file_write(path, text, strlen(text), err);
    free(text);
    return rc;
}

/* --- processes --- */

/* In the child: never returns. */
static void become(const struct pool *p, char **argv, const char *log)
{
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    /* A group of its own, so that Ctrl+C reaches a run once, by us; and no run outlives a sweep
     * that was killed by more than the step it is at. */
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != p->parent)
        _exit(143);
    if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)
        _exit(9);
    sigprocmask(SIG_SETMASK, &p->outside, NULL);
    execv("/proc/self/exe", argv);
    _exit(9);
}

static int start(struct pool *p, const struct trial *t, long number, struct pesc_error *err)
{
    char log[PATH_CAP], name[PATH_CAP], memory[40], threads[40];
    struct job *job = p->job;
    long n = 0;
    while (job->trial)
        job++;
    snprintf(name, sizeof name, "%s.log", t->name);
    TRY(path_join(log, p->s->dir, name, err));
    char **argv = calloc((size_t)(t->n_args + EXTRA_ARGS + 1), sizeof *argv);
    if (!argv)
        return FAIL(err, MEMORY, "no memory for a run's words");
    argv[n++] = p->cli->argv[0];
    for (long a = 0; a < t->n_args; a++)
        if (!(p->memory && !strncmp(t->args[a], "--memory=", 9)) &&
            !(p->threads && !strncmp(t->args[a], "--threads=", 10)))
            argv[n++] = t->args[a];
    snprintf(memory, sizeof memory, "--memory=%llu", (unsigned long long)p->memory);
    snprintf(threads, sizeof threads, "--threads=%ld", p->threads);
    if (p->memory)
        argv[n++] = memory;
    if (p->threads)
        argv[n++] = threads;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        become(p, argv, log);
    free(argv);
    if (pid < 0)
        return FAIL(err, MEMORY, "no process for a run: %s", strerror(errno));
    *job = (struct job){t, pid, number, now()};
    p->busy++;
    if (!p->cli->quiet)
        fprintf(p->cli->talk, "[%ld/%ld] %s\n", number, p->s->n, t->name);
    return 0;
}

static void ended(struct pool *p, pid_t pid, int status)
{
    struct job *job = p->job;
    while (job < p->job + JOBS_MOST && !(job->trial && job->pid == pid))
        job++;
    if (job == p->job + JOBS_MOST)
        return;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    int fine = code == 0 && is_finished(p->s, job->trial);
    if (fine)
        p->done++;
    else if (!p->stopped)
        p->failed++;
    if (!p->cli->quiet || (!fine && !p->stopped))
        fprintf(p->cli->talk, "[%ld/%ld] %s: %s after %.1f s%s%s%s\n", job->number, p->s->n,
                job->trial->name,
                fine         ? "finished"
                : p->stopped ? "stopped"
                             : "failed",
                now() - job->began, fine || p->stopped ? "" : ", see ",
                fine || p->stopped ? "" : job->trial->name, fine || p->stopped ? "" : ".log");
    job->trial = NULL;
    p->busy--;
}

static void reap(struct pool *p)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        ended(p, pid, status);
}

static void pass_on(struct pool *p, int sig)
{
    if (!p->stopped)
        fprintf(p->cli->talk, "stopping: the runs save what they have%s\n",
                p->busy ? "; once more stops them at once" : "");
    p->stopped = p->stopped ? p->stopped : sig;
    for (long i = 0; i < JOBS_MOST; i++)
        if (p->job[i].trial)
            kill(p->job[i].pid, sig);
}

static int run_all(struct pool *p, struct pesc_error *err)
{
    sigset_t wanted;
    sigemptyset(&wanted);
    for (const int *s = (const int[]){SIGCHLD, SIGINT, SIGTERM, SIGHUP, 0}; *s; s++)
        sigaddset(&wanted, *s);
    sigprocmask(SIG_BLOCK, &wanted, &p->outside);
    p->parent = getpid();
    int rc = 0;
    for (;;) {
        while (rc == 0 && !p->stopped && p->busy < p->jobs && p->next < p->s->n) {
            const struct trial *t = &p->s->trials[p->next++];
            if (is_finished(p->s, t))
                p->done++;
            else
                rc = start(p, t, p->next, err);
        }
        if (p->busy == 0)
            break;
        int sig = sigwaitinfo(&wanted, NULL);
        if (sig == SIGCHLD)
            reap(p);
        else if (sig > 0)
            pass_on(p, sig);
    }
    sigprocmask(SIG_SETMASK, &p->outside, NULL);
    return rc;
}

/* One budget and one set of processors for all that run at a time. */
static int share(struct pool *p, const struct train_cli *o, struct pesc_error *err)
{
    if (p->jobs == 1)
        return 0;
    for (long i = 0; i < p->s->n; i++)
        if (json_object_get(p->s->trials[i].values, "memory") ||
            json_object_get(p->s->trials[i].values, "threads"))
            return FAIL(err, USAGE_CONFIG,
                        "--jobs: runs side by side share memory and threads; the sweep's file "
                        "cannot give each its own");
    uint64_t all = o->budgets.n && o->budgets.v[0] != UINT64_MAX ? o->budgets.v[0]
                                                                 : machine_memory_limit() / 4 * 3;
    long threads = o->threads ? o->threads : machine_cores();
    p->memory = all / (uint64_t)p->jobs;
    p->threads = threads > p->jobs ? threads / p->jobs : 1;
    if (!p->cli->quiet)
        fprintf(p->cli->talk, "%ld runs at a time, each with %.0f MiB and %ld thread%s\n", p->jobs,
                (double)p->memory / 1048576, p->threads, p->threads == 1 ? "" : "s");
    return 0;
}

int sweep_run(struct cli *cli, const struct sweep *s, const struct train_cli *o, long jobs,
              struct pesc_error *err)
{
    struct pool *p = calloc(1, sizeof *p);
    int lock = -1, rc = -1;
    if (!p)
        return FAIL(err, MEMORY, "no memory for a sweep");
    *p = (struct pool){.s = s, .cli = cli, .jobs = jobs < JOBS_MOST ? jobs : JOBS_MOST};
    TRY_OR(share(p, o, err), done);
    TRY_OR(lock_dir(s->dir, &lock, err), done);
    TRY_OR(write_list(cli, s, err), done);
    TRY_OR(run_all(p, err), done);
    if (p->stopped) {
        rc = p->stopped == SIGINT
                 ? FAIL(err, INT, "stopped; the same command goes on with the runs that are left")
                 : FAIL(err, TERM, "stopped; the same command goes on with the runs that are left");
        goto done;
    }
    if (p->failed) {
        FAIL(err, RUN_FAILED, "%ld of %ld runs failed; the same command tries them again",
             p->failed, s->n);
        goto done;
    }
    rc = 0;
done:
    if (lock >= 0)
        close(lock);
    free(p);
    return rc;
}
