/* Records what is on the disk at each fsync and fdatasync, into the folder $DISK_RECORD: call number N leaves in N.names the
 * inode that was brought to the disk, and each file and folder under $DISK_ROOT as `inode kind path`, and in N.data what
 * the file held. */

#define _GNU_SOURCE
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static FILE *names;
static size_t root_length;

static FILE *record(int number, const char *kind) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%d.%s", getenv("DISK_RECORD"), number, kind);
    FILE *file = fopen(path, "w");
    if (!file)
        abort();
    return file;
}

static int name(const char *path, const struct stat *about, int kind, struct FTW *level) {
    (void)level;
    fprintf(names, "%lu %c %s\n", (unsigned long)about->st_ino, kind == FTW_D ? 'd' : 'f', path + root_length);
    return 0;
}

static int synced(int status, int fd) {
    static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
    static int number;
    const char *root = getenv("DISK_ROOT");
    struct stat about;
    if (status != 0 || !root || fstat(fd, &about) != 0)
        return status;
    pthread_mutex_lock(&one);
    if (S_ISREG(about.st_mode)) {
        FILE *data = record(number, "data");
        char piece[1 << 16];
        /* The descriptor may be for writing alone. */
        snprintf(piece, sizeof piece, "/proc/self/fd/%d", fd);
        FILE *file = fopen(piece, "r");
        size_t count;
        while ((count = fread(piece, 1, sizeof piece, file)) > 0)
            fwrite(piece, 1, count, data);
        fclose(data);
        /* The file stays open, so that no other one gets its inode. */
    }
    names = record(number++, "names");
    root_length = strlen(root);
    fprintf(names, "%lu\n", (unsigned long)about.st_ino);
    nftw(root, name, 16, FTW_PHYS);
    fclose(names);
    pthread_mutex_unlock(&one);
    return status;
}

int fsync(int fd) { return synced((int)syscall(SYS_fsync, fd), fd); }

int fdatasync(int fd) { return synced((int)syscall(SYS_fdatasync, fd), fd); }
