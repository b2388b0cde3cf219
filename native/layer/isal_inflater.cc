#include <dlfcn.h>

#include <algorithm>
#include <string>

#include "layer/gzip_inflater.h"

#if __has_include(<isa-l/igzip_lib.h>)
#include <isa-l/igzip_lib.h>
#define CAIS_HAS_ISAL_HEADER 1
#endif

namespace cais {

#ifdef CAIS_HAS_ISAL_HEADER

namespace {

// Intel's Intelligent Storage Acceleration Library, loaded when the first layer needs it: a cais
// that was built with its header still runs where the library is absent.
struct Isal {
  decltype(&::isal_inflate_init) init = nullptr;
  decltype(&::isal_inflate_reset) reset = nullptr;
  decltype(&::isal_inflate) inflate = nullptr;
  decltype(&::isal_gzip_header_init) init_header = nullptr;
  decltype(&::isal_read_gzip_header) read_header = nullptr;

  Isal() {
    // By its soname, whose number changes with the layout of `inflate_state`. Never closed.
    void* library = ::dlopen("libisal.so.2", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return;
    init = reinterpret_cast<decltype(init)>(::dlsym(library, "isal_inflate_init"));
    reset = reinterpret_cast<decltype(reset)>(::dlsym(library, "isal_inflate_reset"));
    inflate = reinterpret_cast<decltype(inflate)>(::dlsym(library, "isal_inflate"));
    init_header =
        reinterpret_cast<decltype(init_header)>(::dlsym(library, "isal_gzip_header_init"));
    read_header =
        reinterpret_cast<decltype(read_header)>(::dlsym(library, "isal_read_gzip_header"));
  }

  bool there() const {
    return init != nullptr && reset != nullptr && inflate != nullptr && init_header != nullptr &&
           read_header != nullptr;
  }

  static const Isal& Get() {
    static const Isal isal;
    return isal;
  }
};

// In zlib's words, so that a message does not depend on the library.
const char* ReasonOf(int result) {
  switch (result) {
    case ISAL_INVALID_BLOCK:
      return "invalid block type or code lengths set";
    case ISAL_INVALID_SYMBOL:
      return "invalid literal/length or distance code";
    case ISAL_INVALID_LOOKBACK:
      return "invalid distance too far back";
    case ISAL_INVALID_WRAPPER:
      return "incorrect header check";
    case ISAL_UNSUPPORTED_METHOD:
      return "unknown compression method";
    case ISAL_INCORRECT_CHECKSUM:
      return "incorrect data check";
    default:
      return "unknown reason";
  }
}

// Check sum and length, after the deflate data (RFC 1952, 2.3.1).
constexpr size_t kTrailerBytes = 8;

class IsalInflater final : public GzipInflater {
 public:
  explicit IsalInflater(bool verify_checksums) : verify_checksums_(verify_checksums) {
    isal_.init(&state_);
    Reset();
  }

  Result<Step> Run(std::string_view input, char* output, size_t output_bytes) override {
    state_.next_in = reinterpret_cast<uint8_t*>(const_cast<char*>(input.data()));
    state_.avail_in = static_cast<uint32_t>(input.size());
    state_.next_out = reinterpret_cast<uint8_t*>(output);
    state_.avail_out = static_cast<uint32_t>(output_bytes);
    if (Status done = verify_checksums_ ? RunMember() : RunParts(); !done.ok()) {
      return std::move(done.failure());
    }
    return Step{input.size() - state_.avail_in, output_bytes - state_.avail_out,
                part_ == Part::kEnd};
  }

  void Reset() override {
    isal_.reset(&state_);
    // Header and trailer too, and the check sum compared; a reset leaves this flag alone, but not
    // the one that says that the header has been read.
    state_.crc_flag = verify_checksums_ ? ISAL_GZIP : ISAL_DEFLATE;
    isal_.init_header(&header_);
    part_ = Part::kHeader;
  }

 private:
  enum class Part { kHeader, kData, kTrailer, kEnd };

  // ISA-L does all of it.
  Status RunMember() {
    if (Status inflated = Require(isal_.inflate(&state_)); !inflated.ok()) return inflated;
    if (state_.block_state == ISAL_BLOCK_FINISH) part_ = Part::kEnd;
    return Done{};
  }

  // ISA-L only inflates: its check sum cannot be left out in any other way.
  Status RunParts() {
    if (part_ == Part::kHeader) {
      const int result = isal_.read_header(&state_, &header_);
      if (Status read = Require(result); !read.ok()) return read;
      if (result == ISAL_END_INPUT) return Done{};
      part_ = Part::kData;
    }
    if (part_ == Part::kData) {
      if (Status inflated = Require(isal_.inflate(&state_)); !inflated.ok()) return inflated;
      if (state_.block_state != ISAL_BLOCK_FINISH) return Done{};
      // It reads up to seven bytes ahead, which are the first ones of the trailer.
      trailer_rest_ = kTrailerBytes - static_cast<size_t>(state_.read_in_length) / 8;
      part_ = Part::kTrailer;
    }
    if (part_ == Part::kTrailer) {
      const auto skipped = static_cast<uint32_t>(std::min<size_t>(trailer_rest_, state_.avail_in));
      trailer_rest_ -= skipped;
      state_.next_in += skipped;
      state_.avail_in -= skipped;
      if (trailer_rest_ == 0) part_ = Part::kEnd;
    }
    return Done{};
  }

  static Status Require(int result) {
    if (result >= 0) return Done{};
    return Refuse("BAD_COMPRESSION", std::string("Cannot decompress gzip: ") + ReasonOf(result));
  }

  const Isal& isal_ = Isal::Get();
  const bool verify_checksums_;
  inflate_state state_;
  isal_gzip_header header_;
  Part part_ = Part::kHeader;
  size_t trailer_rest_ = 0;
};

}  // namespace

std::unique_ptr<GzipInflater> OpenIsalInflater(bool verify_checksums) {
  if (!Isal::Get().there()) return nullptr;
  return std::make_unique<IsalInflater>(verify_checksums);
}

#else

std::unique_ptr<GzipInflater> OpenIsalInflater(bool) { return nullptr; }

#endif

}  // namespace cais
