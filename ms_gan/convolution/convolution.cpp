// Convolution, LeakyReLU, batch normalisation, and their gradients: operators for MindSpore's
// ops.Custom(..., "aot") on CPU.
//
// The convolutions call the oneDNN that MindSpore brings, on MindSpore's own threads. MindSpore's
// kernels hand oneDNN plain tensors (NCHW, OIHW), for which it has no fast kernel with AVX-512; here
// oneDNN chooses the layouts, and tensors are reordered on their way in and out.

#include <sched.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <numeric>
#include <vector>

#include "oneapi/dnnl/dnnl.hpp"
#include "oneapi/dnnl/dnnl_threadpool.hpp"

static_assert(DNNL_VERSION_MAJOR == 3, "MindSpore 2.10 brings oneDNN 3");

namespace mindspore {  // exported by MindSpore's libraries, but in no header of its wheel
class ThreadPool {
 public:
  int ParallelLaunch(const std::function<int(void *, int, float, float)> &task, void *, int count);
};
namespace kernel {
ThreadPool *GetActorMgrInnerThreadPool();
}
}  // namespace mindspore

namespace {
using dnnl::memory;
using Dims = memory::dims;
using Tag = memory::format_tag;

// --- where oneDNN computes ----------------------------------------------------------------------

int cores() {
  static const int count = [] {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  }();
  return count;
}

// oneDNN's work on MindSpore's threads. One of its jobs takes several of oneDNN's parts, in order.
class Threads : public dnnl::threadpool_interop::threadpool_iface {
 public:
  int get_num_threads() const override { return cores(); }
  bool get_in_parallel() const override { return inside; }
  uint64_t get_flags() const override { return 0; }  // parallel_for returns when all is done
  void wait() override {}
  void parallel_for(int parts, const std::function<void(int, int)> &body) override {
    const int jobs = inside ? 1 : std::min(parts, cores());
    const auto job = [&](void *, int number, float, float) {
      const bool before = inside;
      inside = true;
      for (int i = number * parts / jobs; i < (number + 1) * parts / jobs; ++i) body(i, parts);
      inside = before;
      return 0;
    };
    if (jobs == 1) {
      job(nullptr, 0, 0, 0);
    } else {
      mindspore::kernel::GetActorMgrInnerThreadPool()->ParallelLaunch(job, nullptr, jobs);
    }
  }

 private:
  static thread_local bool inside;
};
thread_local bool Threads::inside = false;

dnnl::engine &cpu() {
  static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

Threads &threads() {
  static Threads pool;
  return pool;
}

dnnl::stream &stream() {
  static auto made = dnnl::threadpool_interop::make_stream(cpu(), &threads());
  return made;
}

// Memory for a tensor in oneDNN's layout. It lives during one call, so that all problems share
// three buffers.
class Buffer {
 public:
  void *of(size_t bytes) {
    if (bytes > size) {
      std::free(data);
      size = (bytes + 4095) / 4096 * 4096;
      data = std::aligned_alloc(4096, size);
      if (data == nullptr) {
        size = 0;
        throw std::bad_alloc();
      }
    }
    return data;
  }

 private:
  void *data = nullptr;
  size_t size = 0;
};

// --- one convolution ----------------------------------------------------------------------------

// Its three tensors: y = x * w. Each operator makes one of them out of the two others.
enum Tensor { X, W, Y };
constexpr int ARGUMENT[3][3] = {
    // of oneDNN's primitive for the operator that makes the tensor of this row
    {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST},       // x
    {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST},       // w
    {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST},                 // y
};

// What MindSpore hands over as an int64 tensor.
struct Geometry {
  int64_t stride[2], dilation[2];  // dilation 1: none
  int64_t before[2];               // padding at the top and on the left; -1: half of what is needed
  int64_t groups;
};
constexpr int NUMBERS = sizeof(Geometry) / sizeof(int64_t);

struct Problem {
  dnnl::primitive compute;
  dnnl::primitive reorder[3];  // empty where oneDNN takes MindSpore's layout
  memory plain[3], inner[3];
};

memory::desc floats(const Dims &dims, Tag tag) { return {dims, memory::data_type::f32, tag}; }

// Whether factors are rounded to bfloat16, as the process lets matrix products do: where the CPU
// multiplies such numbers faster, which it does not in groups. Sums are in float32 always.
bool rounding(int64_t groups) {
  if (groups > 1) return false;
  const auto isa = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  const auto least = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
  return dnnl::get_default_fpmath_mode() == dnnl::fpmath_mode::bf16 && (isa & least) == least;
}

Problem make(Tensor result, const std::array<Dims, 3> &dims, const Geometry &g) {
  dnnl_threadpool_interop_set_max_concurrency(cores());  // of this thread, before primitives
  const Dims &x = dims[X], &w = dims[W], &y = dims[Y];
  Dims grouped = w;
  if (g.groups > 1) grouped = {g.groups, w[0] / g.groups, w[1], w[2], w[3]};
  Dims stride(2), dilation(2), before(2), after(2);
  for (int i = 0; i < 2; ++i) {
    stride[i] = g.stride[i];
    dilation[i] = g.dilation[i] - 1;  // oneDNN counts what lies between two weights
    const int64_t needed =
        (y[2 + i] - 1) * g.stride[i] + (w[2 + i] - 1) * g.dilation[i] + 1 - x[2 + i];
    before[i] = g.before[i] >= 0 ? g.before[i] : std::max<int64_t>(needed, 0) / 2;
    after[i] = needed - before[i];  // below 0 where the last rows of x are not used
  }
  // Layouts are oneDNN's choice; what an operator makes is float32.
  const auto factor = rounding(g.groups) ? memory::data_type::bf16 : memory::data_type::f32;
  const Dims *sizes[3] = {&x, &grouped, &y};
  const auto free = [&](Tensor t, Tensor made) {
    return memory::desc(*sizes[t], t == made ? memory::data_type::f32 : factor, Tag::any);
  };
  const auto free_x = free(X, result), free_w = free(W, result), free_y = free(Y, result);
  dnnl::primitive_attr exact;  // float32 stays float32, also inside oneDNN
  exact.set_fpmath_mode(dnnl::fpmath_mode::strict);
  const auto direct = dnnl::algorithm::convolution_direct;
  const dnnl::convolution_forward::primitive_desc forward(
      cpu(), dnnl::prop_kind::forward_training, direct, free(X, Y), free(W, Y), free(Y, Y), stride,
      dilation, before, after, exact);
  Problem problem;
  memory::desc inner[3];  // what oneDNN chose
  const auto use = [&](const dnnl::primitive_desc_base &chosen, dnnl::primitive compute) {
    problem.compute = std::move(compute);
    for (Tensor t : {X, W, Y})
      inner[t] = chosen.query_md(dnnl::query::exec_arg_md, ARGUMENT[result][t]);
  };
  if (result == Y) {
    use(forward, dnnl::convolution_forward(forward));
  } else if (result == X) {
    const dnnl::convolution_backward_data::primitive_desc images(
        cpu(), direct, free_x, free_w, free_y, stride, dilation, before, after, forward, exact);
    use(images, dnnl::convolution_backward_data(images));
  } else {
    const dnnl::convolution_backward_weights::primitive_desc weights(
        cpu(), direct, free_x, free_w, free_y, stride, dilation, before, after, forward, exact);
    use(weights, dnnl::convolution_backward_weights(weights));
  }
  const memory::desc plain[3] = {floats(x, Tag::nchw),
                                 floats(grouped, g.groups > 1 ? Tag::goihw : Tag::oihw),
                                 floats(y, Tag::nchw)};
  for (Tensor t : {X, W, Y}) {
    problem.plain[t] = memory(plain[t], cpu(), nullptr);
    problem.inner[t] = memory(inner[t], cpu(), nullptr);
    if (inner[t] == plain[t]) continue;
    problem.reorder[t] = t == result ? dnnl::reorder(problem.inner[t], problem.plain[t])
                                     : dnnl::reorder(problem.plain[t], problem.inner[t]);
  }
  return problem;
}

void solve(Problem &problem, Tensor result, const std::array<void *, 3> &data) {
  static Buffer buffers[3];
  auto &queue = stream();
  std::unordered_map<int, memory> arguments;
  for (Tensor t : {X, W, Y}) {
    memory &plain = problem.plain[t], &inner = problem.inner[t];
    plain.set_data_handle(data[t]);
    inner.set_data_handle(problem.reorder[t] ? buffers[t].of(inner.get_desc().get_size())
                                             : data[t]);
    if (t != result && problem.reorder[t])
      problem.reorder[t].execute(queue, {{DNNL_ARG_FROM, plain}, {DNNL_ARG_TO, inner}});
    arguments.insert({ARGUMENT[result][t], inner});
  }
  problem.compute.execute(queue, arguments);
  if (problem.reorder[result])
    problem.reorder[result].execute(
        queue, {{DNNL_ARG_FROM, problem.inner[result]}, {DNNL_ARG_TO, problem.plain[result]}});
  queue.wait();
}

// MindSpore's arguments: the two given tensors, the geometry, perhaps more of which the shape alone
// matters, and the result last. Returns 0, or 1 with a line on stderr.
int run(Tensor first, Tensor second, Tensor result, int count, void **params, int *ranks,
        int64_t **shapes) {
  static std::mutex lock;  // buffers and problems are shared
  static std::map<std::vector<int64_t>, Problem> problems;
  try {
    const std::lock_guard<std::mutex> guard(lock);
    std::array<Dims, 3> dims;
    std::array<void *, 3> data;
    const std::pair<Tensor, int> places[] = {{first, 0}, {second, 1}, {result, count - 1}};
    for (const auto &[tensor, place] : places) {
      dims[tensor] = Dims(shapes[place], shapes[place] + ranks[place]);
      data[tensor] = params[place];
    }
    const auto *geometry = static_cast<const Geometry *>(params[2]);
    std::vector<int64_t> key{result};
    for (const Dims &one : dims) key.insert(key.end(), one.begin(), one.end());
    const auto *numbers = static_cast<const int64_t *>(params[2]);
    key.insert(key.end(), numbers, numbers + NUMBERS);
    auto found = problems.find(key);
    if (found == problems.end())
      found = problems.emplace(std::move(key), make(result, dims, *geometry)).first;
    solve(found->second, result, data);
    return 0;
  } catch (const std::exception &error) {
    std::fprintf(stderr, "ms_gan, convolution by oneDNN: %s\n", error.what());
    return 1;
  }
}

// --- LeakyReLU ----------------------------------------------------------------------------------

// On its own, so that the compiler sees a loop without aliases and takes wide instructions.
void slope_down(const float *given, const float *sign, float *result, int64_t count, float slope) {
  for (int64_t i = 0; i < count; ++i) result[i] = given[i] * (sign[i] > 0 ? 1.0f : slope);
}

// result = given where sign is above 0, else given * slope: with sign = given LeakyReLU, with its
// result as the sign its gradient. One pass, where MindSpore's kernels need several.
constexpr int64_t FEW = 1 << 14;  // numbers that one thread does sooner than two begin
int sloped(const void *given, const void *sign, const void *slope, void *result, int rank,
           const int64_t *shape) {
  const auto *from = static_cast<const float *>(given), *by = static_cast<const float *>(sign);
  auto *to = static_cast<float *>(result);
  const float factor = *static_cast<const float *>(slope);
  const int64_t count = std::accumulate(shape, shape + rank, int64_t{1}, std::multiplies<>());
  const int parts = count < FEW ? 1 : cores();
  threads().parallel_for(parts, [=](int part, int all) {
    const int64_t begin = count * part / all, end = count * (part + 1) / all;
    slope_down(from + begin, by + begin, to + begin, end - begin, factor);
  });
  return 0;
}

// --- batch normalisation with the activation behind it ------------------------------------------

// x [N, C, ...]: a channel is N planes. It is worked on as a whole by one thread, so that what the
// second pass reads is in the cache still.
struct Planes {
  int64_t images, channels, size;
  Planes(int rank, const int64_t *shape)
      : images(shape[0]),
        channels(shape[1]),
        size(std::accumulate(shape + 2, shape + rank, int64_t{1}, std::multiplies<>())) {}
  int64_t numbers() const { return images * size; }  // of a channel
  template <typename Body>
  void each(int64_t channel, Body body) const {  // of the places where its planes begin
    for (int64_t n = 0; n < images; ++n) body((n * channels + channel) * size);
  }
  template <typename Body>
  void each_channel(Body body) const {
    const int parts = numbers() * channels < FEW ? 1 : std::min<int64_t>(cores(), channels);
    threads().parallel_for(parts, [=](int part, int all) {
      for (int64_t c = channels * part / all; c < channels * (part + 1) / all; ++c) body(c);
    });
  }
};

// A sum in lanes, which the compiler makes wide instructions of.
class Lanes {
 public:
  template <typename Term>
  void add(int64_t count, Term term) {
    int64_t i = 0;
    for (; i + WIDTH <= count; i += WIDTH)
      for (int k = 0; k < WIDTH; ++k) lanes[k] += term(i + k);
    for (int k = 0; k < count - i; ++k) lanes[k] += term(i + k);
  }
  double total() const { return std::accumulate(lanes, lanes + WIDTH, 0.0); }

 private:
  static constexpr int WIDTH = 32;
  float lanes[WIDTH] = {};
};

// What MindSpore hands over: epsilon, and the slope of the activation below 0 (1: there is none).
struct Norm {
  float epsilon, slope;
};

int normalised(void **params, int rank, const int64_t *shape) {
  const auto *x = static_cast<const float *>(params[0]);
  const auto *gamma = static_cast<const float *>(params[1]);
  const auto *beta = static_cast<const float *>(params[2]);
  const Norm norm = *static_cast<const Norm *>(params[3]);
  auto *y = static_cast<float *>(params[4]);
  auto *means = static_cast<float *>(params[5]), *variances = static_cast<float *>(params[6]);
  const Planes planes(rank, shape);
  planes.each_channel([=](int64_t c) {
    const int64_t size = planes.size;
    Lanes sum, squares;
    planes.each(c, [&](int64_t at) { sum.add(size, [=](int64_t i) { return x[at + i]; }); });
    const float mean = sum.total() / planes.numbers();
    planes.each(c, [&](int64_t at) {
      squares.add(size, [=](int64_t i) { return (x[at + i] - mean) * (x[at + i] - mean); });
    });
    const float variance = squares.total() / planes.numbers();
    const float inverse = 1 / std::sqrt(variance + norm.epsilon);
    const float scale = gamma[c] * inverse, shift = beta[c], slope = norm.slope;
    planes.each(c, [&](int64_t at) {
      const float *__restrict from = x + at;
      float *__restrict to = y + at;
      for (int64_t i = 0; i < size; ++i) {
        const float value = (from[i] - mean) * scale + shift;
        to[i] = value * (value > 0 ? 1.0f : slope);
      }
    });
    means[c] = mean;
    variances[c] = variance;
  });
  return 0;
}

// With s = sign of what the activation is given: d = dy * (s > 0 ? 1 : slope), h = (x - mean) / std,
// dbeta = sum d, dgamma = sum d h, dx = gamma / std * (d - (dbeta + h dgamma) / numbers).
int normalised_gradient(void **params, int rank, const int64_t *shape) {
  const auto *dy = static_cast<const float *>(params[0]), *x = static_cast<const float *>(params[1]);
  const auto *gamma = static_cast<const float *>(params[2]);
  const auto *beta = static_cast<const float *>(params[3]);
  const auto *means = static_cast<const float *>(params[4]);
  const auto *variances = static_cast<const float *>(params[5]);
  const Norm norm = *static_cast<const Norm *>(params[6]);
  auto *dx = static_cast<float *>(params[7]);
  auto *dgamma = static_cast<float *>(params[8]), *dbeta = static_cast<float *>(params[9]);
  const Planes planes(rank, shape);
  planes.each_channel([=](int64_t c) {
    const int64_t size = planes.size;
    const float mean = means[c], inverse = 1 / std::sqrt(variances[c] + norm.epsilon);
    const float scale = gamma[c] * inverse, shift = beta[c], slope = norm.slope;
    const auto behind = [=](float d, float centred) {  // the same sum as forward, so the same sign
      return centred * scale + shift > 0 ? d : d * slope;
    };
    Lanes sum, product;
    planes.each(c, [&](int64_t at) {
      sum.add(size, [=](int64_t i) { return behind(dy[at + i], x[at + i] - mean); });
      product.add(size, [=](int64_t i) {
        return behind(dy[at + i], x[at + i] - mean) * (x[at + i] - mean);
      });
    });
    dbeta[c] = sum.total();
    dgamma[c] = product.total() * inverse;
    const float lower = sum.total() / planes.numbers();
    const float tilt = product.total() * inverse * inverse / planes.numbers();
    planes.each(c, [&](int64_t at) {
      const float *__restrict given = dy + at, *__restrict from = x + at;
      float *__restrict to = dx + at;
      for (int64_t i = 0; i < size; ++i) {
        const float centred = from[i] - mean;
        to[i] = scale * (behind(given[i], centred) - lower - centred * tilt);
      }
    });
  });
  return 0;
}
}  // namespace

extern "C" int ms_gan_batch_norm(int, void **params, int *ranks, int64_t **shapes, const char **,
                                 void *, void *) {
  return normalised(params, ranks[0], shapes[0]);
}
extern "C" int ms_gan_batch_norm_gradient(int, void **params, int *ranks, int64_t **shapes,
                                          const char **, void *, void *) {
  return normalised_gradient(params, ranks[0], shapes[0]);
}
extern "C" int ms_gan_leaky_relu(int, void **params, int *ranks, int64_t **shapes, const char **,
                                 void *, void *) {
  return sloped(params[0], params[0], params[1], params[2], ranks[0], shapes[0]);
}
extern "C" int ms_gan_leaky_relu_gradient(int, void **params, int *ranks, int64_t **shapes,
                                          const char **, void *, void *) {
  return sloped(params[0], params[1], params[2], params[3], ranks[0], shapes[0]);
}

#define OPERATOR(name, first, second, result)                                                  \
  extern "C" int name(int count, void **params, int *ranks, int64_t **shapes, const char **,   \
                      void *, void *) {                                                        \
    return run(first, second, result, count, params, ranks, shapes);                           \
  }
OPERATOR(ms_gan_convolution, X, W, Y)
OPERATOR(ms_gan_convolution_images, Y, W, X)
OPERATOR(ms_gan_convolution_weights, X, Y, W)
