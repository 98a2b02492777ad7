// SPDX-License-Identifier: MIT
// unpack IN OUT: the ELF kernel out of a bzImage, as the host command gets it (tools/unpack.h).
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/unpack.h"

int main(int argc, char **argv)
{
	struct bytes file = {0}, elf = {0};
	int err, fd;

	if (argc != 3)
		return EXIT_USAGE;
	err = read_file(argv[1], &file);
	if (err) {
		complain("%s: %s", argv[1], strerror(err));
		return EXIT_FAILED;
	}
	if (!unpack_kernel(argv[1], &file, UNPACK_MOST, &elf))
		return EXIT_FAILED;
	fd = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0 || !write_all(fd, elf.data, elf.len) || close(fd)) {
		perror(argv[2]);
		return EXIT_FAILED;
	}
	bytes_free(&file);
	bytes_free(&elf);
	return EXIT_OK;
}
