/* SPDX-License-Identifier: Apache-2.0 */
/* Files mapped into memory. */
#define _POSIX_C_SOURCE 200809L

#include "bnn_host.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* An empty file maps to this: mmap refuses a length of 0. */
static _Alignas(BNN_ALIGNMENT) const unsigned char nothing[BNN_ALIGNMENT];

/* Maps an open file.  Returns 0, or an errno. */
static int map(int file, bnn_mapping *mapping)
{
    struct stat status;
    if (fstat(file, &status) != 0)
        return errno;
    if (!S_ISREG(status.st_mode))
        return S_ISDIR(status.st_mode) ? EISDIR : ENODEV;
    if ((uintmax_t)status.st_size > SIZE_MAX)
        return EFBIG;
    size_t size = (size_t)status.st_size;
    void *data = (void *)(uintptr_t)nothing;
    if (size != 0)
        data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, file, 0);
    if (data == MAP_FAILED)
        return errno;
    mapping->data = data;
    mapping->size = size;
    return 0;
}

bnn_status bnn_file_map(const char *path, bnn_mapping *mapping)
{
    if (mapping == NULL)
        return BNN_ERROR_ARGUMENT;
    *mapping = (bnn_mapping){.data = NULL};
    if (path == NULL)
        return BNN_ERROR_ARGUMENT;
    /* O_NONBLOCK: opening a pipe must not wait for its writer. */
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    mapping->error = file < 0 ? errno : map(file, mapping);
    if (file >= 0)
        close(file);
    return mapping->error == 0 ? BNN_OK : BNN_ERROR_IO;
}

void bnn_file_unmap(bnn_mapping *mapping)
{
    if (mapping == NULL)
        return;
    if (mapping->data != NULL && mapping->size != 0)
        munmap((void *)(uintptr_t)mapping->data, mapping->size);
    mapping->data = NULL;
    mapping->size = 0;
}
