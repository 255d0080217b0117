// Binds objectives: loss, gradient, Hessian products and training over a data set, for float32 and
// float64.
#include "unstuck/nn/objective.hpp"

#include <algorithm>
#include <atomic>
#include <optional>

#include "arrays.hpp"
#include "interrupt.hpp"
#include "optim_arrays.hpp"
#include "unstuck/krylov/following.hpp"
#include "unstuck/nn/hessian_product.hpp"
#include "unstuck/nn/training.hpp"

namespace unstuck::bindings {
namespace {

using nn::Selection;

// The objective with the arrays it reads and the workspaces it reuses.
template <class T> struct BoundObjective {
  CArray<T> x, value, weight;
  CArray<std::int64_t> label;
  std::unique_ptr<nn::Objective<T>> objective;
  nn::Pool<nn::Workspace<T>> pool;
  nn::Pool<LookSpace<T>> looks;
};

template <class T> using Shared = std::shared_ptr<BoundObjective<T>>;

// Takes a workspace for one call and gives it back, also when the call throws.
template <class W> class Lease {
public:
  explicit Lease(nn::Pool<W> &pool) : pool_(pool), space_(pool.take()) {}
  ~Lease() { pool_.give(std::move(space_)); }
  Lease(const Lease &) = delete;
  Lease &operator=(const Lease &) = delete;
  W &operator*() { return *space_; }

private:
  nn::Pool<W> &pool_;
  std::unique_ptr<W> space_;
};

template <class T>
Shared<T> make_objective(std::shared_ptr<nn::Network<T>> network, const std::string &loss,
                         const std::map<std::string, double> &options,
                         const std::vector<double> &class_weight, const py::object &x,
                         const py::object &targets, const py::object &weight, double l2,
                         double spectral_penalty) {
  auto bound = std::make_shared<BoundObjective<T>>();
  const std::shared_ptr<const nn::Loss<T>> function =
      nn::make_loss<T>({loss, options, class_weight});
  bound->x = input<T>(x, "X", {-1, network->inputs()});
  const std::int64_t rows = bound->x.shape(0), outputs = network->outputs();
  nn::Data<T> data{bound->x.data(), rows, {}};
  if (function->uses_labels()) {
    bound->label = input<std::int64_t>(targets, "y", {rows});
    const std::int64_t *labels = bound->label.data();
    for (std::int64_t i = 0; i < rows; ++i)
      require(labels[i] >= 0 && labels[i] < outputs, "`y` must hold labels in [0, ", outputs,
              "), got ", labels[i], " in row ", i);
    require(class_weight.empty() || static_cast<std::int64_t>(class_weight.size()) == outputs,
            "`class_weight` must hold ", outputs, " numbers, one per output, got ",
            class_weight.size());
    data.targets.label = labels;
  } else {
    bound->value = input<T>(targets, "y", {rows, outputs});
    data.targets.value = bound->value.data();
  }
  if (!weight.is_none()) {
    bound->weight = input<T>(weight, "sample_weight", {rows});
    data.targets.weight = bound->weight.data();
  }
  bound->objective =
      std::make_unique<nn::Objective<T>>(std::move(network), function, data, l2, spectral_penalty);
  return bound;
}

// The batch as the core sees it; `keep` holds the converted indices alive.
template <class T>
Selection select(const BoundObjective<T> &bound, const py::object &batch,
                 CArray<std::int64_t> &keep) {
  if (batch.is_none())
    return bound.objective->all();
  keep = input<std::int64_t>(batch, "batch", {-1});
  require(keep.size() > 0, "`batch` is empty; a mean needs at least one sample");
  const std::int64_t rows = bound.objective->data().rows, *index = keep.data();
  for (py::ssize_t i = 0; i < keep.size(); ++i)
    require(index[i] >= 0 && index[i] < rows, "`batch` must hold indices in [0, ", rows, "), got ",
            index[i], " at position ", i);
  return {index, keep.size()};
}

template <class T>
double loss(const Shared<T> &bound, const py::object &theta, const py::object &buffers,
            bool training, const py::object &batch) {
  const auto t = input<T>(theta, "theta", {bound->objective->network().size()});
  const auto b = input<T>(buffers, "buffers", {bound->objective->network().buffer_size()});
  CArray<std::int64_t> keep;
  const Selection selection = select(*bound, batch, keep);
  const auto poll = signal_poll();
  const py::gil_scoped_release release;
  Lease space(bound->pool);
  return bound->objective->loss({t.data(), b.data(), training}, selection, *space, poll);
}

template <class T>
std::pair<double, py::array_t<T>> gradient(const Shared<T> &bound, const py::object &theta,
                                           const py::object &buffers, bool training,
                                           const py::object &batch) {
  const std::int64_t n = bound->objective->network().size();
  const auto t = input<T>(theta, "theta", {n});
  const auto b = input<T>(buffers, "buffers", {bound->objective->network().buffer_size()});
  CArray<std::int64_t> keep;
  const Selection selection = select(*bound, batch, keep);
  auto result = new_array<T>({n});
  T *target = result.mutable_data();
  double value = 0.0;
  const auto poll = signal_poll();
  {
    const py::gil_scoped_release release;
    Lease space(bound->pool);
    value =
        bound->objective->gradient({t.data(), b.data(), training}, selection, target, *space, poll)
            .loss;
  }
  return {value, result};
}

nn::Curvature curvature(const std::string &kind) {
  require(kind == "hessian" || kind == "gauss_newton" || kind == "fisher",
          "`kind` must be hessian, gauss_newton or fisher, got ", kind);
  return kind == "hessian"        ? nn::Curvature::hessian
         : kind == "gauss_newton" ? nn::Curvature::gauss_newton
                                  : nn::Curvature::fisher;
}

// A Hessian product that keeps its objective alive and lets one caller in at a time.
template <class T> struct BoundHessian {
  Shared<T> owner;
  std::unique_ptr<nn::HessianProduct<T>> product;
  std::mutex mutex;
};

template <class T>
std::shared_ptr<BoundHessian<T>>
hessian(const Shared<T> &bound, const py::object &theta, const py::object &buffers, bool training,
        const py::object &batch, std::int64_t memory_budget, const std::string &kind) {
  const auto t = input<T>(theta, "theta", {bound->objective->network().size()});
  const auto b = input<T>(buffers, "buffers", {bound->objective->network().buffer_size()});
  CArray<std::int64_t> keep;
  const Selection selection = select(*bound, batch, keep);
  auto result = std::make_shared<BoundHessian<T>>();
  result->owner = bound;
  const auto poll = signal_poll();
  const py::gil_scoped_release release;
  result->product = std::make_unique<nn::HessianProduct<T>>(
      *bound->objective, nn::Point<T>{t.data(), b.data(), training}, selection, memory_budget, poll,
      curvature(kind));
  return result;
}

template <class T> py::array_t<T> apply(BoundHessian<T> &bound, const py::object &vectors) {
  const std::int64_t n = bound.product->size();
  const auto v = input<T>(vectors, "v", {-1, n});
  auto result = new_array<T>({v.shape(0), n});
  T *target = result.mutable_data();
  const std::int64_t count = v.shape(0);
  const auto poll = signal_poll();
  {
    const py::gil_scoped_release release;
    const std::scoped_lock lock(bound.mutex);
    bound.product->apply(v.data(), count, target, poll);
  }
  return result;
}

// An end to follow from (rows (k, n), sign, shift, rows per round, scale (n,) or None); `next`: the
// array that it writes.
template <class T>
FollowedEnd<T> followed_end(const py::handle &object, std::int64_t n, py::array_t<T> &next) {
  const auto [rows, sign, shift, most, scale] =
      object.cast<std::tuple<py::array, double, double, std::int64_t, std::optional<py::array>>>();
  if (most < 1 || most > kMostFollowed || rows.ndim() != 2 || rows.shape(0) < 1 ||
      rows.shape(0) > kMostFollowed)
    require(false, "an end needs 1 to 3 rows, got ", describe(rows));
  next = new_array<T>({std::max(most, kPair), n});
  FollowedEnd<T> end;
  end.sign = sign;
  end.shift = shift;
  end.most = most;
  end.rows = readonly<T>(rows, "rows", {rows.shape(0), n}).data();
  end.next = next.mutable_data();
  end.found.count = rows.shape(0);
  if (scale)
    end.scale = readonly<T>(*scale, "scale", {n}).data();
  return end;
}

// Follows ends of the Hessian at θ: (products, [(value, residual, next rows, how many of them are
// filled), …]).
template <class T>
py::tuple look(const Shared<T> &bound, const py::object &theta, const py::object &buffers,
               bool training, const py::object &batch, std::int64_t memory_budget,
               const py::list &ends, double accuracy, std::int64_t most) {
  const std::int64_t n = bound->objective->network().size();
  const auto t = input<T>(theta, "theta", {n});
  const auto b = input<T>(buffers, "buffers", {bound->objective->network().buffer_size()});
  CArray<std::int64_t> keep;
  const Selection selection = select(*bound, batch, keep);
  require(!ends.empty(), "`ends` is empty: there is nothing to look at");
  std::vector<py::array_t<T>> next(ends.size());
  std::vector<FollowedEnd<T>> followed;
  for (std::size_t i = 0; i < ends.size(); ++i)
    followed.push_back(followed_end<T>(ends[i], n, next[i]));
  std::int64_t products = 0;
  const auto poll = signal_poll();
  {
    const py::gil_scoped_release release;
    Lease space(bound->looks);
    nn::HessianProduct<T> product(*bound->objective, nn::Point<T>{t.data(), b.data(), training},
                                  selection, memory_budget, poll, nn::Curvature::hessian);
    products = follow_ends<T>(n, followed, accuracy, most, *space,
                              [&](const T *rows, std::int64_t count, T *images) {
                                product.apply(rows, count, images, poll);
                              });
  }
  py::list results;
  for (std::size_t i = 0; i < followed.size(); ++i)
    results.append(py::make_tuple(followed[i].found.value, followed[i].found.residual, next[i],
                                  followed[i].found.count));
  return py::make_tuple(products, results);
}

template <class T> py::dict hessian_plan(const BoundHessian<T> &bound) {
  const nn::HessianPlan &plan = bound.product->plan();
  py::dict report;
  report["primal_pass"] = plan.cached ? "kept" : "recomputed";
  report["schedule"] = plan.tiles ? "output tiles" : "sample rows";
  report["bytes"] = plan.bytes;
  report["chunk_rows"] = plan.chunk_rows;
  return report;
}

// Runs the steps; an exception out of the poll (Ctrl-C) ends them and is returned as `error`, so
// that the caller can first book the steps that were done.
template <class T>
py::tuple train(const Shared<T> &bound, py::array theta, py::array buffers, BoundUpdate &update,
                const py::object &hyper, const py::list &slots, std::int64_t updates,
                const py::object &order, std::int64_t batch, const py::object &rates, double clip,
                std::optional<py::array> average, double average_decay) {
  const std::int64_t n = bound->objective->network().size();
  nn::OptimizerState<T> state{};
  state.call.theta = inout<T>(theta, "theta", {n}).data();
  T *running = inout<T>(buffers, "buffers", {bound->objective->network().buffer_size()}).data();
  require_disjoint(theta, "theta", buffers, "buffers");
  require(update.n == n && (std::is_same_v<T, float> == (update.single != nullptr)),
          "`update` is of another size or dtype than the network");
  std::vector<std::pair<py::array, const char *>> others{{theta, "theta"}};
  if (average) {
    check_average(state.call, *average, n, average_decay);
    require_disjoint(theta, "theta", *average, "average");
    others.emplace_back(*average, "average");
  }
  const std::vector<SlotArray> pointers = checked_slots<T>(update, slots, others);
  CArray<std::int64_t> keep;
  const Selection selection = select(*bound, order, keep);
  require(batch > 0, "`batch_size` must be positive, got ", batch);
  const auto lr = input<double>(rates, "lr", {-1});
  const auto width = static_cast<std::int64_t>(hyper_names(update.rule).size());
  const auto numbers = input<double>(hyper, "hyper", {-1, width});
  require(numbers.shape(0) == 1 || numbers.shape(0) == lr.shape(0),
          "`hyper` must have one row or as many as `lr`, got ", numbers.shape(0));
  py::array_t<double> losses(lr.shape(0)), norms(lr.shape(0));
  double *loss_data = losses.mutable_data(), *norm_data = norms.mutable_data();
  state.update = &update.plan<T>();
  state.hyper = numbers.data();
  state.hyper_stride = numbers.shape(0) == 1 ? 0 : static_cast<std::size_t>(width);
  state.call.slots = pointers.data();
  state.updates = updates;
  nn::TrainingResult result;
  py::object error = py::none();
  std::optional<py::error_already_set> raised;
  const auto poll = signal_poll();
  {
    const py::gil_scoped_release release;
    const std::scoped_lock lock(update.mutex);
    Lease space(bound->pool);
    std::vector<T> gradient(static_cast<std::size_t>(n));
    try {
      result = nn::train(*bound->objective, state.call.theta, running, state, selection, batch,
                         std::span<const double>(lr.data(), static_cast<std::size_t>(lr.size())),
                         clip, loss_data, norm_data, gradient.data(), *space, poll);
    } catch (py::error_already_set &caught) {
      result.done = state.updates - updates;
      raised.emplace(std::move(caught));
    }
  }
  if (raised)
    error = raised->value();
  const char *stop = result.stop == nn::Stop::loss       ? "loss"
                     : result.stop == nn::Stop::gradient ? "gradient"
                                                         : "";
  return py::make_tuple(losses, norms, result.done, std::string(stop), error);
}

template <class T> void bind_type(py::module_ &m, const std::string &prefix) {
  py::class_<BoundHessian<T>, std::shared_ptr<BoundHessian<T>>>(m, (prefix + "Hessian").c_str())
      .def("apply", &apply<T>, py::arg("v"))
      .def_property_readonly("plan", &hessian_plan<T>);
  py::class_<BoundObjective<T>, Shared<T>>(m, (prefix + "Objective").c_str())
      .def(py::init(&make_objective<T>), py::arg("network"), py::arg("loss"), py::arg("options"),
           py::arg("class_weight"), py::arg("X"), py::arg("y"), py::arg("sample_weight"),
           py::arg("l2"), py::arg("spectral_penalty"))
      .def("loss", &loss<T>, py::arg("theta"), py::arg("buffers"), py::arg("training"),
           py::arg("batch"))
      .def("gradient", &gradient<T>, py::arg("theta"), py::arg("buffers"), py::arg("training"),
           py::arg("batch"))
      .def("hessian", &hessian<T>, py::arg("theta"), py::arg("buffers"), py::arg("training"),
           py::arg("batch"), py::arg("memory_budget"), py::arg("kind"))
      .def("look", &look<T>, py::arg("theta"), py::arg("buffers"), py::arg("training"),
           py::arg("batch"), py::arg("memory_budget"), py::arg("ends"), py::arg("accuracy"),
           py::arg("most"))
      .def("train", &train<T>, py::arg("theta"), py::arg("buffers").noconvert(), py::arg("update"),
           py::arg("hyper"), py::arg("slots"), py::arg("updates"), py::arg("order"),
           py::arg("batch_size"), py::arg("lr"), py::arg("clip_norm"),
           py::arg("average").noconvert() = py::none(), py::arg("average_decay") = 0.0);
}

} // namespace

void bind_objective(py::module_ &m) {
  bind_type<float>(m, "Float32");
  bind_type<double>(m, "Float64");
}

} // namespace unstuck::bindings
