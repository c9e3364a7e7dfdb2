/* A file system without locks: flock fails with the error number $FLOCK_ERRNO. */

#include <errno.h>
#include <stdlib.h>
#include <sys/file.h>

int flock(int fd, int operation) {
    (void)fd;
    (void)operation;
    errno = atoi(getenv("FLOCK_ERRNO"));
    return -1;
}
