/*
 * A disk that fails when a test says so, for the program as it ships.
 *
 * The program under test runs with this library preloaded: nothing is compiled into it, and the same bytes that
 * operators get are killed between two of their own system calls, find their disk full, or lose what they never
 * synced. Only files below TEST_DISK are watched. TEST_DISK_CONTROL names a file that the test and this library
 * share through memory: the words in `struct control`, which tests/src/disk.rs knows in the same order.
 *
 * What may change a file is counted: write, truncate, sync, rename, remove. A test that knows the count of a quiet
 * run can kill the program before, in the middle of, or after each of them. Between two of these nothing that outlives
 * the process changes, so killing at each of them is killing at every point that can be told apart afterwards.
 *
 * With TEST_DISK_SURVIVES the library keeps, in that folder, what a power cut leaves of a disk that keeps nothing
 * but what was synced: the content of a file as of its last sync, and the names as of the last sync of their folder.
 * Each name there is a link to a content, which is called after the file's inode. A sync of a new file keeps its name
 * too, as Linux file systems do.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct control {
    _Atomic uint64_t count;      /* operations so far */
    _Atomic uint64_t kill_at;    /* the operation to die at; 0 for none */
    _Atomic uint64_t kill_how;   /* 0 before it, 1 in its middle, 2 after it */
    _Atomic uint64_t full;       /* no file may grow */
    _Atomic uint64_t sync_fails; /* every sync fails, as on a broken disk */
    _Atomic uint64_t sync_lies;  /* a sync answers and keeps nothing */
};

enum { BEFORE = 0, MIDDLE = 1 };

static struct control nothing, *control = &nothing;
static char watched[PATH_MAX], survives[PATH_MAX];
static size_t watched_length;
static int log_to = -1;
static pthread_mutex_t keeping = PTHREAD_MUTEX_INITIALIZER;

typedef char path_t[2 * PATH_MAX];

__attribute__((constructor)) static void begin(void) {
    const char *folder = getenv("TEST_DISK"), *shared = getenv("TEST_DISK_CONTROL");
    const char *log = getenv("TEST_DISK_LOG"), *kept = getenv("TEST_DISK_SURVIVES");
    if (!folder || !shared) return;
    snprintf(watched, sizeof watched, "%s", folder);
    watched_length = strlen(watched);
    if (kept) snprintf(survives, sizeof survives, "%s", kept);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, shared, O_RDWR | O_CLOEXEC, 0);
    void *memory = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) abort();
    control = memory;
    close(fd);
    if (log) log_to = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

/* The path below the watched folder, or NULL. SQLite's shared-memory index is rebuilt at every start. */
static const char *below(const char *path) {
    if (!watched_length || strncmp(path, watched, watched_length) != 0) return NULL;
    const char *rest = path + watched_length;
    if (*rest == '/') rest++;
    else if (*rest) return NULL;
    size_t length = strlen(rest);
    if (length >= 4 && strcmp(rest + length - 4, "-shm") == 0) return NULL;
    return strstr(rest, " (deleted)") ? NULL : rest;
}

/* The name of an open file below the watched folder, or NULL; `path` holds it. */
static const char *name_of(int fd, path_t path) {
    char link[64];
    if (!watched_length) return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof(path_t) - 1);
    if (length < 0) return NULL;
    path[length] = 0;
    return below(path);
}

static void die(void) {
    syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    for (;;) pause();
}

/* Counts an operation; dies when it is the one to die before. True when it is the one to die in or after. */
static int arrive(const char *what, const char *name) {
    uint64_t number = atomic_fetch_add(&control->count, 1) + 1;
    if (log_to >= 0) {
        char line[sizeof(path_t) + 64];
        int length = snprintf(line, sizeof line, "%llu %s %s\n", (unsigned long long)number, what, *name ? name : ".");
        if (syscall(SYS_write, log_to, line, (size_t)length) < 0) abort();
    }
    if (number != atomic_load(&control->kill_at)) return 0;
    if (atomic_load(&control->kill_how) == BEFORE) die();
    return 1;
}

static void leave(int mine) {
    if (mine) die();
}

/* What survives a power cut. */

static void content_of(path_t path, ino_t inode) {
    snprintf(path, sizeof(path_t), "%s/.content/%llu", survives, (unsigned long long)inode);
}

/* Lets a name that survives stand for a content. */
static void keep_name(const char *name, ino_t inode) {
    path_t path, content, fresh;
    snprintf(path, sizeof path, "%s/%s", survives, name);
    snprintf(fresh, sizeof fresh, "%s/.fresh", survives);
    content_of(content, inode);
    for (char *slash = path + strlen(survives) + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
        *slash = 0;
        mkdir(path, 0700);
    }
    syscall(SYS_unlink, fresh);
    if (symlink(content, fresh) != 0 || syscall(SYS_rename, fresh, path) != 0) abort();
}

/* A file was synced: its content survives, and its name. */
static void keep_content(int fd, const char *name, ino_t inode) {
    static char block[1 << 16];
    path_t path;
    char own[64];
    content_of(path, inode);
    int to = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    /* A file that is open for writing alone cannot be read through its own descriptor. */
    snprintf(own, sizeof own, "/proc/self/fd/%d", fd);
    int from = (int)syscall(SYS_openat, AT_FDCWD, own, O_RDONLY | O_CLOEXEC, 0);
    if (to < 0 || from < 0) abort();
    off_t at = 0;
    for (ssize_t got; (got = pread(from, block, sizeof block, at)) > 0; at += got) {
        if (syscall(SYS_pwrite64, to, block, (size_t)got, at) != got) abort();
    }
    if (syscall(SYS_ftruncate, to, at) != 0) abort();
    close(from);
    close(to);
    keep_name(name, inode);
}

/* A folder was synced: the names in it survive, and no other. */
static void keep_names(const char *folder) {
    path_t path, name;
    struct stat about;
    struct dirent *entry;
    snprintf(path, sizeof path, "%s/%s", watched, folder);
    DIR *real = opendir(path);
    if (!real) abort();
    while ((entry = readdir(real))) {
        content_of(path, entry->d_ino);
        if (entry->d_type != DT_REG || stat(path, &about) != 0) continue;
        snprintf(name, sizeof name, "%s%s%s", folder, *folder ? "/" : "", entry->d_name);
        keep_name(name, entry->d_ino);
    }
    closedir(real);
    snprintf(path, sizeof path, "%s/%s", survives, folder);
    DIR *kept = opendir(path);
    while (kept && (entry = readdir(kept))) {
        snprintf(path, sizeof path, "%s/%s/%s", watched, folder, entry->d_name);
        if (entry->d_type != DT_LNK || lstat(path, &about) == 0) continue;
        snprintf(path, sizeof path, "%s/%s/%s", survives, folder, entry->d_name);
        syscall(SYS_unlink, path);
    }
    if (kept) closedir(kept);
}

static int sync_of(int fd, long number) {
    path_t path;
    struct stat about;
    const char *name = name_of(fd, path);
    if (!name) return (int)syscall(number, fd);
    int mine = arrive("sync", name);
    if (atomic_load(&control->sync_fails)) {
        errno = EIO;
        return -1;
    }
    if (*survives && !atomic_load(&control->sync_lies) && fstat(fd, &about) == 0) {
        pthread_mutex_lock(&keeping);
        if (S_ISDIR(about.st_mode)) keep_names(name);
        else keep_content(fd, name, about.st_ino);
        pthread_mutex_unlock(&keeping);
    }
    /* What a process wrote outlives it anyway, and what a test looks at is that, so no real sync is waited for. */
    leave(mine);
    return 0;
}

int fsync(int fd) { return sync_of(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_of(fd, SYS_fdatasync); }

/* Writing. */

static int no_room(int fd, off_t end) {
    struct stat about;
    if (!atomic_load(&control->full) || fstat(fd, &about) != 0 || end <= about.st_size) return 0;
    errno = ENOSPC;
    return 1;
}

/* `at` is -1 for the place where the file stands. */
static ssize_t write_at(int fd, const void *bytes, size_t length, off_t at) {
    path_t path;
    const char *name = name_of(fd, path);
    int mine = name ? arrive("write", name) : 0;
    off_t place = name && at < 0 ? lseek(fd, 0, SEEK_CUR) : at;
    if (name && no_room(fd, place + (off_t)length)) return -1;
    if (mine && atomic_load(&control->kill_how) == MIDDLE) length /= 2;
    ssize_t done = at < 0 ? syscall(SYS_write, fd, bytes, length) : syscall(SYS_pwrite64, fd, bytes, length, at);
    leave(mine);
    return done;
}

ssize_t write(int fd, const void *bytes, size_t length) { return write_at(fd, bytes, length, -1); }
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) { return write_at(fd, bytes, length, at); }
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) { return write_at(fd, bytes, length, at); }

static int truncate_to(int fd, off_t length) {
    path_t path;
    const char *name = name_of(fd, path);
    int mine = name ? arrive("truncate", name) : 0;
    if (name && no_room(fd, length)) return -1;
    int done = (int)syscall(SYS_ftruncate, fd, length);
    leave(mine);
    return done;
}

int ftruncate(int fd, off_t length) { return truncate_to(fd, length); }
int ftruncate64(int fd, off64_t length) { return truncate_to(fd, length); }

/* Names. */

int rename(const char *from, const char *to) {
    int mine = below(to) ? arrive("rename", below(to)) : 0;
    int done = (int)syscall(SYS_rename, from, to);
    leave(mine);
    return done;
}

int unlink(const char *path) {
    int mine = below(path) ? arrive("remove", below(path)) : 0;
    int done = (int)syscall(SYS_unlink, path);
    leave(mine);
    return done;
}
