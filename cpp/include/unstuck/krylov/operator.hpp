// What a symmetric operator is to the Krylov methods: any callable that writes H·v for a given v.
#pragma once
#include <concepts>
#include <span>

namespace unstuck {

// op(v, product): v is a unit vector (n), product (n) is to be filled with H·v. The same v must
// give the same product.
template <class Op, class T>
concept SymmetricOperator = std::invocable<Op &, std::span<const T>, std::span<T>>;

} // namespace unstuck
