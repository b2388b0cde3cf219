// The tree that a tar describes, as a list that a program can create without thinking.
#ifndef BENCH_LIMIT_TAR_ENTRIES_H_
#define BENCH_LIMIT_TAR_ENTRIES_H_

#include <sys/types.h>
#include <time.h>

#include <string>
#include <utility>
#include <vector>

#include "file.h"

struct Attributes {
  mode_t mode = 0755;
  uid_t uid = 0;
  gid_t gid = 0;
  timespec modified{};
  dev_t device = 0;
  std::vector<std::pair<std::string, std::string>> xattrs;
};

// Anything in a directory that is no directory and no hard link.
struct Leaf {
  std::string name;
  char type = '0';  // As in a tar: 0 file, 2 symbolic link, 3 and 4 devices, 6 FIFO.
  Attributes attributes;
  Bytes data;
  std::string target;  // Of a symbolic link.
};

struct Directory {
  std::string name;
  size_t parent = 0;  // Always less than the directory's own index; 0 is the root.
  Attributes attributes;
  std::vector<Leaf> leaves;
};

struct HardLink {
  size_t directory = 0;
  std::string name;
  size_t target_directory = 0;
  std::string target_name;
};

struct Tree {
  std::vector<Directory> directories;
  std::vector<HardLink> links;
};

// The data of the leaves stays in the tar's memory. Whiteouts are kept as what overlayfs reads.
[[nodiscard]] Tree ReadTar(Bytes tar);

#endif  // BENCH_LIMIT_TAR_ENTRIES_H_
