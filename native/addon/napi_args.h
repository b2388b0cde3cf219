#pragma once

#include <napi.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cais {

// Readers of JavaScript arguments, without C++ exceptions: the first wrong one raises a TypeError
// that names it ("options.upper.workDirectory: expected a string"), and from then on every reader
// returns an empty value. Read everything, then ask ok() once:
//
//   Args args(info);
//   std::string path = args.At(0, "path").Text();
//   int64_t max_bytes = args.At(1, "maxBytes").Integer(0);
//   if (!args.ok()) return info.Env().Undefined();
class Args;

// One argument, or a field or element of one.
class Arg {
 public:
  Arg(Args* args, Napi::Value value, std::string name)
      : args_(args), value_(value), name_(std::move(name)) {}

  // Undefined or null: an optional one that was not given.
  bool absent() const { return value_.IsEmpty() || value_.IsUndefined() || value_.IsNull(); }
  Napi::Value raw() const { return value_; }
  const std::string& name() const { return name_; }

  // A string without a NUL byte (it would end a path early in the kernel).
  inline std::string Text() const;
  // A number without a fraction between `low` and `high`.
  inline int64_t Integer(int64_t low, int64_t high = kMaxSafeInteger) const;
  inline bool Boolean() const;
  // A copy of the bytes of a Uint8Array or Buffer.
  inline std::string Bytes() const;
  inline Napi::Function Function() const;
  inline int Descriptor() const {
    return static_cast<int>(Integer(0, std::numeric_limits<int>::max()));
  }
  // A field of an object; absent when the object has none.
  inline Arg Field(const char* key) const;
  // The elements of an array.
  inline std::vector<Arg> List() const;
  // The own keys of an object with string values, in order.
  inline std::vector<std::pair<std::string, std::string>> TextMap() const;

  std::optional<int64_t> OptionalInteger(int64_t low, int64_t high = kMaxSafeInteger) const {
    if (absent()) return std::nullopt;
    return Integer(low, high);
  }
  std::optional<std::string> OptionalText() const {
    if (absent()) return std::nullopt;
    return Text();
  }

  static constexpr int64_t kMaxSafeInteger = 9007199254740991;

 private:
  inline void Expected(const char* what) const;

  Args* args_;
  Napi::Value value_;
  std::string name_;
};

class Args {
 public:
  explicit Args(const Napi::CallbackInfo& info) : info_(info) {}
  Args(const Args&) = delete;
  Args& operator=(const Args&) = delete;

  Arg At(size_t index, const char* name) { return Arg(this, info_[index], name); }
  // False once something was wrong; a TypeError is pending then.
  bool ok() const { return ok_; }
  Napi::Env env() const { return info_.Env(); }
  void Fail(const std::string& message) {
    if (!ok_) return;
    ok_ = false;
    Napi::TypeError::New(info_.Env(), message).ThrowAsJavaScriptException();
  }

 private:
  const Napi::CallbackInfo& info_;
  bool ok_ = true;
};

void Arg::Expected(const char* what) const { args_->Fail(name_ + ": expected " + what); }

std::string Arg::Text() const {
  if (!args_->ok()) return {};
  if (value_.IsEmpty() || !value_.IsString()) {
    Expected("a string");
    return {};
  }
  std::string text = value_.As<Napi::String>().Utf8Value();
  if (text.find('\0') != std::string::npos) {
    Expected("a string without a NUL character");
    return {};
  }
  return text;
}

int64_t Arg::Integer(int64_t low, int64_t high) const {
  if (!args_->ok()) return low;
  const double number = !value_.IsEmpty() && value_.IsNumber()
                            ? value_.As<Napi::Number>().DoubleValue()
                            : std::numeric_limits<double>::quiet_NaN();
  if (!(number == std::trunc(number)) || number < static_cast<double>(low) ||
      number > static_cast<double>(high)) {
    Expected(("an integer from " + std::to_string(low) + " to " + std::to_string(high)).c_str());
    return low;
  }
  return static_cast<int64_t>(number);
}

bool Arg::Boolean() const {
  if (!args_->ok()) return false;
  if (value_.IsEmpty() || !value_.IsBoolean()) {
    Expected("a boolean");
    return false;
  }
  return value_.As<Napi::Boolean>().Value();
}

std::string Arg::Bytes() const {
  if (!args_->ok()) return {};
  if (value_.IsEmpty() || !value_.IsTypedArray() ||
      value_.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    Expected("a Uint8Array");
    return {};
  }
  auto array = value_.As<Napi::Uint8Array>();
  if (array.ByteLength() == 0) return {};
  return std::string(reinterpret_cast<const char*>(array.Data()), array.ByteLength());
}

Napi::Function Arg::Function() const {
  if (!args_->ok()) return {};
  if (value_.IsEmpty() || !value_.IsFunction()) {
    Expected("a function");
    return {};
  }
  return value_.As<Napi::Function>();
}

Arg Arg::Field(const char* key) const {
  if (args_->ok() && (value_.IsEmpty() || !value_.IsObject())) Expected("an object");
  if (!args_->ok()) return Arg(args_, Napi::Value(), name_ + "." + key);
  Napi::Value field = value_.As<Napi::Object>().Get(key);
  return Arg(args_, field, name_ + "." + key);
}

std::vector<Arg> Arg::List() const {
  std::vector<Arg> list;
  if (!args_->ok()) return list;
  if (value_.IsEmpty() || !value_.IsArray()) {
    Expected("an array");
    return list;
  }
  auto array = value_.As<Napi::Array>();
  const uint32_t length = array.Length();
  list.reserve(length);
  for (uint32_t i = 0; i < length; ++i) {
    Napi::Value element = array.Get(i);
    list.emplace_back(args_, element, name_ + "[" + std::to_string(i) + "]");
  }
  return list;
}

std::vector<std::pair<std::string, std::string>> Arg::TextMap() const {
  std::vector<std::pair<std::string, std::string>> map;
  if (!args_->ok()) return map;
  if (value_.IsEmpty() || !value_.IsObject()) {
    Expected("an object");
    return map;
  }
  auto object = value_.As<Napi::Object>();
  Napi::Array keys = object.GetPropertyNames();
  for (uint32_t i = 0; i < keys.Length() && args_->ok(); ++i) {
    Napi::Value key = keys.Get(i);
    std::string name = key.ToString().Utf8Value();
    Napi::Value field = object.Get(name);
    map.emplace_back(name, Arg(args_, field, name_ + "." + name).Text());
  }
  return map;
}

}  // namespace cais
