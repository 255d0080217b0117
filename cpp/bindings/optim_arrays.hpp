// What the update needs from Python, checked: the state vectors of a rule in their format.
#pragma once
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "arrays.hpp"
#include "unstuck/optim/codes.hpp"
#include "unstuck/optim/update.hpp"

namespace unstuck::bindings {

// An optimizer's plan in both types; only that of θ's type is made.
struct BoundUpdate {
  RuleId rule;
  std::int64_t n;
  optim::Format format;
  std::vector<SlotInfo> slots;
  std::vector<std::string> names; // of the arrays in `slots` lists: a slot, then its scales
  std::unique_ptr<Update<float>> single;
  std::unique_ptr<Update<double>> wide;
  std::mutex mutex; // the plan's sums belong to one step at a time

  template <class T> Update<T> &plan() {
    if constexpr (std::is_same_v<T, float>)
      return *single;
    else
      return *wide;
  }
};

RuleId checked_rule(const std::string &name, const std::vector<double> &hyper);

// Codes are read as words of 32 bits.
template <class C>
void *aligned_codes(py::array &array, const char *name, optim::Format format, std::int64_t n) {
  void *data = inout<C>(array, name, {optim::padded(format, n)}).data();
  require<ArgumentTypeError>(reinterpret_cast<std::uintptr_t>(data) % alignof(optim::Bits) == 0,
                             "`", name, "` is not aligned to 4 bytes; pass a copy");
  return data;
}

// Slots as C++ sees them: each array checked, then against everything else that the update touches.
template <class T>
std::vector<SlotArray>
checked_slots(const BoundUpdate &update, const py::list &slots,
              const std::vector<std::pair<py::array, const char *>> &others) {
  require(slots.size() == update.names.size(), "`slots` must hold ", update.names.size(),
          " arrays, got ", slots.size());
  std::vector<py::array> arrays;
  std::vector<SlotArray> pointers(update.slots.size());
  const bool coded = update.format == optim::Format::int8;
  for (std::size_t k = 0; k < update.names.size(); ++k) {
    const char *name = update.names[k].c_str();
    require<ArgumentTypeError>(py::isinstance<py::array>(slots[k]), "`", name,
                               "` must be an array");
    py::array array = py::reinterpret_borrow<py::array>(slots[k]);
    SlotArray &slot = pointers[coded ? k / 2 : k];
    if (coded && k % 2 == 1)
      slot.scales =
          inout<float>(array, name, {(update.n + optim::kCodeBlock - 1) / optim::kCodeBlock})
              .data();
    else if (coded)
      slot.values = aligned_codes<std::uint8_t>(array, name, update.format, update.n);
    else if (update.format == optim::Format::bfloat16)
      slot.values = aligned_codes<std::uint16_t>(array, name, update.format, update.n);
    else
      slot.values = inout<T>(array, name, {update.n}).data();
    for (const auto &[other, label] : others)
      require_disjoint(other, label, array, name);
    for (std::size_t j = 0; j < k; ++j)
      require_disjoint(arrays[j], update.names[j].c_str(), array, name);
    arrays.push_back(std::move(array));
  }
  return pointers;
}

// The moving average of θ: of θ's type or uint16, bfloat16's bits.
template <class T>
void check_average(UpdateCall<T> &call, py::array &average, std::int64_t n, double decay) {
  require(decay >= 0.0 && decay < 1.0, "`average_decay` must be in [0, 1), got ", decay);
  call.average_decay = decay;
  if (is_type<std::uint16_t>(average)) {
    call.average_format = optim::Format::bfloat16;
    call.average = inout<std::uint16_t>(average, "average", {n}).data();
  } else {
    call.average = inout<T>(average, "average", {n}).data();
  }
}

} // namespace unstuck::bindings
