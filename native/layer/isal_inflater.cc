#include <dlfcn.h>

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

  Isal() {
    // By its soname, whose number changes with the layout of `inflate_state`. Never closed.
    void* library = ::dlopen("libisal.so.2", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return;
    init = reinterpret_cast<decltype(init)>(::dlsym(library, "isal_inflate_init"));
    reset = reinterpret_cast<decltype(reset)>(::dlsym(library, "isal_inflate_reset"));
    inflate = reinterpret_cast<decltype(inflate)>(::dlsym(library, "isal_inflate"));
  }

  bool there() const { return init != nullptr && reset != nullptr && inflate != nullptr; }

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

class IsalInflater final : public GzipInflater {
 public:
  IsalInflater() {
    isal_.init(&state_);
    Reset();
  }

  Result<Step> Run(std::string_view input, char* output, size_t output_bytes) override {
    state_.next_in = reinterpret_cast<uint8_t*>(const_cast<char*>(input.data()));
    state_.avail_in = static_cast<uint32_t>(input.size());
    state_.next_out = reinterpret_cast<uint8_t*>(output);
    state_.avail_out = static_cast<uint32_t>(output_bytes);
    const int result = isal_.inflate(&state_);
    if (result < 0) {
      return Refuse("BAD_COMPRESSION", std::string("Cannot decompress gzip: ") + ReasonOf(result));
    }
    return Step{input.size() - state_.avail_in, output_bytes - state_.avail_out,
                state_.block_state == ISAL_BLOCK_FINISH};
  }

  void Reset() override {
    isal_.reset(&state_);
    // Header and trailer too, and the check sum compared; a reset leaves this flag alone, but not
    // the one that says that the header has been read.
    state_.crc_flag = ISAL_GZIP;
  }

 private:
  const Isal& isal_ = Isal::Get();
  inflate_state state_;
};

}  // namespace

std::unique_ptr<GzipInflater> OpenIsalInflater() {
  if (!Isal::Get().there()) return nullptr;
  return std::make_unique<IsalInflater>();
}

#else

std::unique_ptr<GzipInflater> OpenIsalInflater() { return nullptr; }

#endif

}  // namespace cais
