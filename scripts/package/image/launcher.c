/*
 * /usr/bin/teapot-kms of the image: does what the launcher bin/teapot-kms does, for an image that has no shell. A test
 * compares the two. The flags are the launcher's: scripts/package/image/image.ts defines NODE, MAIN, FLAGS and SCAN_FLAGS.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const char *const flags[] = {FLAGS};
static const char *const scan_flags[] = {SCAN_FLAGS};

#define COUNT(list) ((int)(sizeof(list) / sizeof((list)[0])))

int main(int argc, char **argv) {
  /* A core dump would contain keys. */
  const struct rlimit none = {0, 0};
  if (setrlimit(RLIMIT_CORE, &none) != 0) {
    perror("teapot-kms: cannot turn core dumps off");
    return 1;
  }
  const char **args = calloc((size_t)argc + COUNT(flags) + COUNT(scan_flags) + 3, sizeof *args);
  if (args == NULL) {
    perror("teapot-kms");
    return 1;
  }
  int count = 0;
  args[count++] = NODE;
  for (int i = 0; i < COUNT(flags); i++) args[count++] = flags[i];
  if (argc > 1 && strcmp(argv[1], "scan") == 0)
    for (int i = 0; i < COUNT(scan_flags); i++) args[count++] = scan_flags[i];
  args[count++] = MAIN;
  for (int i = 1; i < argc; i++) args[count++] = argv[i];
  execv(NODE, (char *const *)args);
  perror("teapot-kms: cannot run " NODE);
  return 1;
}
