#include <zlib.h>

#include <string>

#include "layer/gzip_inflater.h"

namespace cais {
namespace {

// 15 bits of window, and 16 for "gzip, not zlib".
constexpr int kWindowBits = 15 + 16;

class ZlibInflater final : public GzipInflater {
 public:
  ZlibInflater() = default;
  ZlibInflater(const ZlibInflater&) = delete;
  ZlibInflater& operator=(const ZlibInflater&) = delete;
  ~ZlibInflater() override {
    if (open_) (void)inflateEnd(&stream_);
  }

  bool Open() {
    open_ = inflateInit2(&stream_, kWindowBits) == Z_OK;
    return open_;
  }

  // Pieces are far smaller than 4 GiB, zlib's limit for one call.
  Result<Step> Run(std::string_view input, char* output, size_t output_bytes) override {
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input.data()));
    stream_.avail_in = static_cast<uInt>(input.size());
    stream_.next_out = reinterpret_cast<Bytef*>(output);
    stream_.avail_out = static_cast<uInt>(output_bytes);
    const int result = inflate(&stream_, Z_NO_FLUSH);
    const Step step{input.size() - stream_.avail_in, output_bytes - stream_.avail_out,
                    result == Z_STREAM_END};
    switch (result) {
      case Z_STREAM_END:
      case Z_OK:
      case Z_BUF_ERROR:  // no progress possible: input or output is used up
        return step;
      case Z_MEM_ERROR:
        return Refuse("ENOMEM", "Cannot decompress gzip: out of memory");
      default:
        break;
    }
    const char* reason = stream_.msg != nullptr ? stream_.msg : "unknown reason";
    return Refuse("BAD_COMPRESSION", std::string("Cannot decompress gzip: ") + reason);
  }

  void Reset() override { (void)inflateReset(&stream_); }

 private:
  z_stream stream_{};
  bool open_ = false;
};

}  // namespace

Result<std::unique_ptr<GzipInflater>> OpenZlibInflater() {
  auto inflater = std::make_unique<ZlibInflater>();
  if (!inflater->Open()) return Refuse("ENOMEM", "Cannot start inflate");
  return Result<std::unique_ptr<GzipInflater>>(std::move(inflater));
}

}  // namespace cais
