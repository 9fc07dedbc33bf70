// CPU kernels of the binary domain, for float32 tensors in channels-last order: rows (batch and space) x channels.
//
// Each has a plain torch counterpart in Python with which tests compare it.

#include <ATen/Parallel.h>
#include <torch/extension.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

using at::Tensor;

namespace {

constexpr int64_t GRAIN = 16384;  // elements of a parallel task
constexpr int64_t BLOCK = 256;    // rows summed in float before they go into a double

int64_t grain_rows(int64_t channels) { return std::max<int64_t>(1, GRAIN / channels); }

// Sums of a function of every row into `width` doubles, the same for the same number of threads.
template <typename Accumulate>
std::vector<double> row_sums(int64_t rows, int64_t channels, int64_t width, const Accumulate& accumulate) {
  const int64_t tasks = std::max<int64_t>(1, std::min<int64_t>(at::get_num_threads(), rows / grain_rows(channels)));
  std::vector<double> partial(tasks * width, 0.0);
  at::parallel_for(0, tasks, 1, [&](int64_t first, int64_t last) {
    std::vector<float> sums(width);
    for (int64_t task = first; task < last; ++task) {
      const int64_t begin = rows * task / tasks, end = rows * (task + 1) / tasks;
      for (int64_t start = begin; start < end; start += BLOCK) {
        std::fill(sums.begin(), sums.end(), 0.f);
        accumulate(start, std::min(end, start + BLOCK), sums.data());
        for (int64_t i = 0; i < width; ++i) partial[task * width + i] += sums[i];
      }
    }
  });
  std::vector<double> total(width, 0.0);
  for (int64_t task = 0; task < tasks; ++task)
    for (int64_t i = 0; i < width; ++i) total[i] += partial[task * width + i];
  return total;
}

Tensor as_tensor(const std::vector<double>& values, int64_t begin, int64_t end) {
  Tensor result = at::empty({end - begin}, at::kFloat);
  for (int64_t i = begin; i < end; ++i) result.data_ptr<float>()[i - begin] = static_cast<float>(values[i]);
  return result;
}

}  // namespace

// sign

std::vector<Tensor> sign_forward(const Tensor& x, double clip, bool strict) {
  Tensor y = at::empty_like(x), mask = at::empty_like(x, x.options().dtype(at::kBool));
  const float *in = x.data_ptr<float>(), limit = static_cast<float>(clip);
  float* out = y.data_ptr<float>();
  bool* keep = mask.data_ptr<bool>();
  at::parallel_for(0, x.numel(), GRAIN, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) out[i] = in[i] >= 0.f ? 1.f : -1.f;
    if (strict)
      for (int64_t i = begin; i < end; ++i) keep[i] = std::abs(in[i]) < limit;
    else
      for (int64_t i = begin; i < end; ++i) keep[i] = std::abs(in[i]) <= limit;
  });
  return {y, mask};
}

Tensor masked(const Tensor& gradient, const Tensor& mask) {
  Tensor result = at::empty_like(gradient);
  const float* in = gradient.data_ptr<float>();
  const auto* keep = reinterpret_cast<const uint8_t*>(mask.data_ptr<bool>());
  float* out = result.data_ptr<float>();
  at::parallel_for(0, gradient.numel(), GRAIN, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) out[i] = in[i] * static_cast<float>(keep[i]);
  });
  return result;
}

// weight * prelu(scale * x, slope), all three by channel

Tensor scaled_prelu_forward(const Tensor& x, const Tensor& scale, const Tensor& slope, const Tensor& weight) {
  const int64_t channels = x.size(1), rows = x.numel() / channels;
  Tensor y = at::empty_like(x);
  const float *in = x.data_ptr<float>(), *s = scale.data_ptr<float>(), *a = slope.data_ptr<float>(),
              *w = weight.data_ptr<float>();
  float* out = y.data_ptr<float>();
  at::parallel_for(0, rows, grain_rows(channels), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* xr = in + row * channels;
      float* yr = out + row * channels;
      for (int64_t c = 0; c < channels; ++c) {
        const float v = s[c] * xr[c];
        yr[c] = w[c] * (v > 0.f ? v : a[c] * v);
      }
    }
  });
  return y;
}

// Returns the gradients of x, scale, slope and weight.
std::vector<Tensor> scaled_prelu_backward(const Tensor& gradient, const Tensor& x, const Tensor& scale,
                                          const Tensor& slope, const Tensor& weight) {
  const int64_t channels = x.size(1), rows = x.numel() / channels;
  Tensor result = at::empty_like(x);
  const float *in = x.data_ptr<float>(), *g = gradient.data_ptr<float>(), *s = scale.data_ptr<float>(),
              *a = slope.data_ptr<float>(), *w = weight.data_ptr<float>();
  float* out = result.data_ptr<float>();
  auto sums = row_sums(rows, channels, 3 * channels, [&](int64_t begin, int64_t end, float* total) {
    float *by_scale = total, *by_slope = total + channels, *by_weight = total + 2 * channels;
    for (int64_t row = begin; row < end; ++row) {
      const float *xr = in + row * channels, *gr = g + row * channels;
      float* outr = out + row * channels;
#pragma GCC ivdep
      for (int64_t c = 0; c < channels; ++c) {
        const float v = s[c] * xr[c], gw = gr[c] * w[c];
        const bool positive = v > 0.f;
        const float bent = positive ? 1.f : a[c], low = positive ? 0.f : v;
        const float gv = gw * bent;
        outr[c] = gv * s[c];
        by_scale[c] += gv * xr[c];
        by_slope[c] += gw * low;
        by_weight[c] += gr[c] * bent * v;
      }
    }
  });
  return {result, as_tensor(sums, 0, channels), as_tensor(sums, channels, 2 * channels),
          as_tensor(sums, 2 * channels, 3 * channels)};
}

// Normalisation over rows, times a weight a channel

std::vector<Tensor> norm_forward(const Tensor& x, const Tensor& weight, double eps) {
  const int64_t channels = x.size(1), rows = x.numel() / channels;
  const float* in = x.data_ptr<float>();
  auto sums = row_sums(rows, channels, channels, [&](int64_t begin, int64_t end, float* total) {
    for (int64_t row = begin; row < end; ++row) {
      const float* xr = in + row * channels;
#pragma GCC ivdep
      for (int64_t c = 0; c < channels; ++c) total[c] += xr[c];
    }
  });
  for (auto& value : sums) value /= rows;
  Tensor mean = as_tensor(sums, 0, channels), inverse = at::empty({channels}, at::kFloat), y = at::empty_like(x);
  const float* m = mean.data_ptr<float>();
  auto squares = row_sums(rows, channels, channels, [&](int64_t begin, int64_t end, float* total) {
    for (int64_t row = begin; row < end; ++row) {
      const float* xr = in + row * channels;
#pragma GCC ivdep
      for (int64_t c = 0; c < channels; ++c) {
        const float d = xr[c] - m[c];
        total[c] += d * d;
      }
    }
  });
  float *r = inverse.data_ptr<float>(), *out = y.data_ptr<float>();
  for (int64_t c = 0; c < channels; ++c) r[c] = static_cast<float>(1.0 / std::sqrt(squares[c] / rows + eps));
  std::vector<float> factor(channels);
  for (int64_t c = 0; c < channels; ++c) factor[c] = r[c] * weight.data_ptr<float>()[c];
  const float* f = factor.data();
  at::parallel_for(0, rows, grain_rows(channels), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* xr = in + row * channels;
      float* yr = out + row * channels;
#pragma GCC ivdep
      for (int64_t c = 0; c < channels; ++c) yr[c] = (xr[c] - m[c]) * f[c];
    }
  });
  return {y, mean, inverse};
}

// Returns the gradients of x and weight.
std::vector<Tensor> norm_backward(const Tensor& gradient, const Tensor& x, const Tensor& mean, const Tensor& inverse,
                                  const Tensor& weight) {
  const int64_t channels = x.size(1), rows = x.numel() / channels;
  const float *g = gradient.data_ptr<float>(), *in = x.data_ptr<float>(), *m = mean.data_ptr<float>(),
              *r = inverse.data_ptr<float>(), *w = weight.data_ptr<float>();
  auto sums = row_sums(rows, channels, 2 * channels, [&](int64_t begin, int64_t end, float* total) {
    for (int64_t row = begin; row < end; ++row) {
      const float *xr = in + row * channels, *gr = g + row * channels;
#pragma GCC ivdep
      for (int64_t c = 0; c < channels; ++c) {
        total[c] += gr[c];
        total[channels + c] += gr[c] * (xr[c] - m[c]) * r[c];
      }
    }
  });
  std::vector<float> factor(channels), offset(channels), slant(channels);
  for (int64_t c = 0; c < channels; ++c) {
    factor[c] = w[c] * r[c];
    offset[c] = static_cast<float>(sums[c] / rows);
    slant[c] = static_cast<float>(sums[channels + c] / rows) * r[c];
  }
  Tensor result = at::empty_like(x);
  float* out = result.data_ptr<float>();
  const float *f = factor.data(), *o = offset.data(), *t = slant.data();
  at::parallel_for(0, rows, grain_rows(channels), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float *xr = in + row * channels, *gr = g + row * channels;
      float* outr = out + row * channels;
#pragma GCC ivdep
      for (int64_t c = 0; c < channels; ++c) outr[c] = f[c] * (gr[c] - o[c] - (xr[c] - m[c]) * t[c]);
    }
  });
  return {result, as_tensor(sums, channels, 2 * channels)};
}

// Gradient of a depthwise kernel (channels, 1, size, size)

namespace {
constexpr int LANES = 16;

template <int WIDTH>
void tap_sum(const float* g, const float* x, int64_t count, int64_t g_step, int64_t x_step, float* total) {
  float a[WIDTH] = {}, b[WIDTH] = {}, c[WIDTH] = {}, d[WIDTH] = {};
  int64_t i = 0;
  for (; i + 4 <= count; i += 4, g += 4 * g_step, x += 4 * x_step) {
    for (int l = 0; l < WIDTH; ++l) {
      a[l] += g[l] * x[l];
      b[l] += g[g_step + l] * x[x_step + l];
      c[l] += g[2 * g_step + l] * x[2 * x_step + l];
      d[l] += g[3 * g_step + l] * x[3 * x_step + l];
    }
  }
  for (; i < count; ++i, g += g_step, x += x_step)
    for (int l = 0; l < WIDTH; ++l) a[l] += g[l] * x[l];
  for (int l = 0; l < WIDTH; ++l) total[l] += (a[l] + b[l]) + (c[l] + d[l]);
}
}  // namespace

Tensor depthwise_weight_gradient(const Tensor& gradient, const Tensor& x, int64_t size, int64_t stride,
                                 int64_t padding, int64_t dilation) {
  const int64_t batch = x.size(0), channels = x.size(1), height = x.size(2), width = x.size(3);
  const int64_t out_height = gradient.size(2), out_width = gradient.size(3), taps = size * size;
  const float *g = gradient.data_ptr<float>(), *in = x.data_ptr<float>();
  const int64_t rows = batch * out_height;
  const int64_t tasks = std::max<int64_t>(1, std::min<int64_t>(at::get_num_threads(), rows));
  std::vector<double> partial(tasks * taps * channels, 0.0);
  at::parallel_for(0, tasks, 1, [&](int64_t first, int64_t last) {
    std::vector<float> sums(taps * channels);
    for (int64_t task = first; task < last; ++task) {
      for (int64_t row = rows * task / tasks; row < rows * (task + 1) / tasks; ++row) {
        std::fill(sums.begin(), sums.end(), 0.f);
        const int64_t n = row / out_height, oy = row % out_height;
        for (int64_t i = 0; i < size; ++i) {
          const int64_t y = oy * stride - padding + i * dilation;
          if (y < 0 || y >= height) continue;
          for (int64_t j = 0; j < size; ++j) {
            const int64_t shift = j * dilation - padding;  // input column = output column * stride + shift
            const int64_t from = shift < 0 ? (-shift + stride - 1) / stride : 0;
            const int64_t to = std::min(out_width, (width - 1 - shift) / stride + 1);
            if (width - 1 - shift < 0 || from >= to) continue;
            const float* gr = g + (row * out_width + from) * channels;
            const float* xr = in + ((n * height + y) * width + from * stride + shift) * channels;
            float* total = sums.data() + (i * size + j) * channels;
            int64_t c = 0;
            for (; c + LANES <= channels; c += LANES)
              tap_sum<LANES>(gr + c, xr + c, to - from, channels, stride * channels, total + c);
            for (; c + 4 <= channels; c += 4)
              tap_sum<4>(gr + c, xr + c, to - from, channels, stride * channels, total + c);
            for (; c < channels; ++c) tap_sum<1>(gr + c, xr + c, to - from, channels, stride * channels, total + c);
          }
        }
        double* mine = partial.data() + task * taps * channels;
        for (int64_t t = 0; t < taps * channels; ++t) mine[t] += sums[t];
      }
    }
  });
  Tensor result = at::empty({channels, 1, size, size}, at::kFloat);
  float* out = result.data_ptr<float>();
  for (int64_t tap = 0; tap < taps; ++tap)
    for (int64_t c = 0; c < channels; ++c) {
      double total = 0.0;
      for (int64_t task = 0; task < tasks; ++task) total += partial[(task * taps + tap) * channels + c];
      out[c * taps + tap] = static_cast<float>(total);
    }
  return result;
}

// Packed binary convolution

namespace {

constexpr int OUT = 8;    // outputs of a vector of 64-bit counts
constexpr int PIXELS = 4;  // neighbouring output pixels computed together

// Bits of x >= limit, or of its contrary where the bit of `flips` is set; without limits those of x >= 0.
void pack(const float* in, const float* limits, const uint64_t* flips, int64_t channels, uint64_t* words) {
  for (int64_t start = 0; start < channels; start += 64) {
    const int64_t count = std::min<int64_t>(64, channels - start);
    const float* x = in + start;
    uint64_t word = 0;
#if defined(__AVX512F__)
    const __m512 zero = _mm512_setzero_ps();
    for (int64_t i = 0; i < count; i += 16) {
      const __mmask16 live = count - i >= 16 ? 0xffff : static_cast<__mmask16>((1u << (count - i)) - 1);
      const __m512 limit = limits ? _mm512_maskz_loadu_ps(live, limits + start + i) : zero;
      const __mmask16 bits = _mm512_mask_cmp_ps_mask(live, _mm512_maskz_loadu_ps(live, x + i), limit, _CMP_GE_OQ);
      word |= static_cast<uint64_t>(bits) << i;
    }
#else
    for (int64_t i = 0; i < count; ++i)
      word |= static_cast<uint64_t>(x[i] >= (limits ? limits[start + i] : 0.f)) << i;
#endif
    words[start / 64] = flips ? word ^ flips[start / 64] : word;
  }
}

// Counts differing bits of `tile` pixels with 2 x OUT outputs over all taps; words of a tap lie `step` apart.
template <int TILE>
inline void count_bits(const uint64_t* const* taps, const int64_t* shift, int64_t tap_count, int64_t words, int64_t step,
                       const uint64_t* kernel, int64_t kernel_step, uint64_t* counts) {
#if defined(__AVX512VPOPCNTDQ__) && defined(__AVX512F__)
  __m512i low[TILE], high[TILE];
  for (int p = 0; p < TILE; ++p) low[p] = high[p] = _mm512_setzero_si512();
  const uint64_t* k = kernel;
  for (int64_t t = 0; t < tap_count; ++t) {
    const uint64_t* x = taps[t];
    for (int64_t w = 0; w < words; ++w, k += OUT) {
      const __m512i k0 = _mm512_loadu_si512(k), k1 = _mm512_loadu_si512(k + kernel_step);
      for (int p = 0; p < TILE; ++p) {
        const __m512i v = _mm512_set1_epi64(static_cast<int64_t>(x[p * *shift + w * step]));
        low[p] = _mm512_add_epi64(low[p], _mm512_popcnt_epi64(_mm512_xor_si512(v, k0)));
        high[p] = _mm512_add_epi64(high[p], _mm512_popcnt_epi64(_mm512_xor_si512(v, k1)));
      }
    }
  }
  for (int p = 0; p < TILE; ++p) {
    _mm512_storeu_si512(counts + p * 2 * OUT, low[p]);
    _mm512_storeu_si512(counts + p * 2 * OUT + OUT, high[p]);
  }
#else
  for (int i = 0; i < TILE * 2 * OUT; ++i) counts[i] = 0;
  const uint64_t* k = kernel;
  for (int64_t t = 0; t < tap_count; ++t) {
    const uint64_t* x = taps[t];
    for (int64_t w = 0; w < words; ++w, k += OUT)
      for (int p = 0; p < TILE; ++p) {
        const uint64_t v = x[p * *shift + w * step];
        for (int o = 0; o < OUT; ++o) {
          counts[p * 2 * OUT + o] += __builtin_popcountll(v ^ k[o]);
          counts[p * 2 * OUT + OUT + o] += __builtin_popcountll(v ^ k[kernel_step + o]);
        }
      }
  }
#endif
}

// Counts differing bits of one pixel's patches with all outputs, eight groups side by side: patch (words, lanes), kernel
// (outputs of a group, words, lanes), counts (outputs of a group, lanes).
inline void count_groups(const uint64_t* patch, const uint64_t* kernel, int64_t per_group, int64_t words, int64_t lanes,
                         float total, float* values) {
  for (int64_t o = 0; o < per_group; ++o) {
    const uint64_t* k = kernel + o * words * lanes;
    float* to = values + o * lanes;
    for (int64_t g = 0; g < lanes; g += 8) {
#if defined(__AVX512VPOPCNTDQ__) && defined(__AVX512F__) && defined(__AVX512DQ__)
      __m512i sum = _mm512_setzero_si512();
      for (int64_t w = 0; w < words; ++w)
        sum = _mm512_add_epi64(sum, _mm512_popcnt_epi64(_mm512_xor_si512(_mm512_loadu_si512(patch + w * lanes + g),
                                                                         _mm512_loadu_si512(k + w * lanes + g))));
      const __m256 count = _mm512_cvtepi64_ps(sum);
      _mm256_storeu_ps(to + g, _mm256_sub_ps(_mm256_set1_ps(total), _mm256_add_ps(count, count)));
#else
      for (int64_t l = g; l < g + 8; ++l) {
        int64_t sum = 0;
        for (int64_t w = 0; w < words; ++w) sum += __builtin_popcountll(patch[w * lanes + l] ^ k[w * lanes + l]);
        to[l] = total - 2.f * static_cast<float>(sum);
      }
#endif
    }
  }
}

// A convolution's geometry, and its input as bits: (batch, full height, full width, groups, words), padding included.
struct Image {
  int64_t batch, height, width, channels, groups, words, pixel, full_height, full_width, out_height, out_width;
  Tensor bits;
};

Image pack_image(const Tensor& x, const Tensor& limits, const Tensor& flips, int64_t groups, int64_t kernel_height,
                 int64_t kernel_width, at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation,
                 int64_t pad_bit) {
  Image image;
  image.batch = x.size(0), image.height = x.size(1), image.width = x.size(2), image.groups = groups;
  const int64_t channels = image.channels = x.size(3) / groups;
  const int64_t words = image.words = (channels + 63) / 64, pixel = image.pixel = groups * words;
  const int64_t height = image.height, width = image.width;
  image.out_height = (height + 2 * padding[0] - dilation[0] * (kernel_height - 1) - 1) / stride[0] + 1;
  image.out_width = (width + 2 * padding[1] - dilation[1] * (kernel_width - 1) - 1) / stride[1] + 1;
  TORCH_CHECK(height + 2 * padding[0] > dilation[0] * (kernel_height - 1) &&
                  width + 2 * padding[1] > dilation[1] * (kernel_width - 1),
              "the kernel reaches beyond the padded image");
  TORCH_CHECK(!limits.numel() || limits.numel() == x.size(3), "a limit for every channel is wanted");
  const int64_t full_height = image.full_height = height + 2 * padding[0];
  const int64_t full_width = image.full_width = width + 2 * padding[1];
  std::vector<uint64_t> outside(pixel, 0);
  if (pad_bit)
    for (int64_t i = 0; i < groups; ++i)
      for (int64_t c = 0; c < channels; ++c) outside[i * words + c / 64] |= uint64_t{1} << (c % 64);
  image.bits = at::empty({image.batch, full_height, full_width, pixel}, at::kLong);
  auto* packed = reinterpret_cast<uint64_t*>(image.bits.data_ptr<int64_t>());
  const float *in = x.data_ptr<float>(), *limit = limits.numel() ? limits.data_ptr<float>() : nullptr;
  const auto* flip = flips.numel() ? reinterpret_cast<const uint64_t*>(flips.data_ptr<int64_t>()) : nullptr;
  const int64_t row_grain = std::max<int64_t>(1, GRAIN / std::max<int64_t>(1, full_width * channels * groups));
  // Small groups are cut from the bits of a whole pixel, each by one load that may begin anywhere in a byte.
  const bool cut = groups > 1 && channels <= 57;
  const uint64_t mask = (uint64_t{1} << (channels % 64)) - 1;
  at::parallel_for(0, image.batch * full_height, row_grain, [&](int64_t begin, int64_t end) {
    std::vector<uint64_t> all(channels * groups / 64 + 2, 0);
    const auto* bytes = reinterpret_cast<const uint8_t*>(all.data());
    for (int64_t row = begin; row < end; ++row) {
      const int64_t n = row / full_height, y = row % full_height - padding[0];
      for (int64_t column = 0; column < full_width; ++column) {
        const int64_t at = column - padding[1];
        uint64_t* to = packed + (row * full_width + column) * pixel;
        if (y < 0 || y >= height || at < 0 || at >= width) {
          std::memcpy(to, outside.data(), pixel * sizeof(uint64_t));
        } else {
          const float* from = in + ((n * height + y) * width + at) * channels * groups;
          if (cut) {
            pack(from, limit, nullptr, channels * groups, all.data());
            for (int64_t i = 0; i < groups; ++i) {
              uint64_t word;
              std::memcpy(&word, bytes + i * channels / 8, sizeof(word));
              to[i] = (word >> (i * channels % 8)) & mask;
            }
            for (int64_t i = 0; flip && i < groups; ++i) to[i] ^= flip[i];
            continue;
          }
          for (int64_t i = 0; i < groups; ++i)
            pack(from + i * channels, limit ? limit + i * channels : nullptr, flip ? flip + i * words : nullptr, channels,
                 to + i * words);
        }
      }
    }
  });
  return image;
}

// The signs of all taps of one row of output pixels in as few words as they need: (pixels, words, lanes), a lane a group.
void gather_patches(const uint64_t* packed, const Image& image, int64_t row, int64_t kernel_height, int64_t kernel_width,
                    at::IntArrayRef stride, at::IntArrayRef dilation, int64_t words, int64_t lanes, uint64_t* patches) {
  const int64_t n = row / image.out_height, oy = row % image.out_height, channels = image.channels;
  std::memset(patches, 0, image.out_width * words * lanes * sizeof(uint64_t));
  for (int64_t i = 0; i < kernel_height; ++i) {
    for (int64_t j = 0; j < kernel_width; ++j) {
      const int64_t place = (i * kernel_width + j) * channels, word = place / 64, low = place % 64;
      const uint64_t* from =
          packed + ((n * image.full_height + oy * stride[0] + i * dilation[0]) * image.full_width + j * dilation[1]) *
                       image.pixel;
      for (int64_t ox = 0; ox < image.out_width; ++ox, from += stride[1] * image.pixel) {
        uint64_t* to = patches + (ox * words + word) * lanes;
        for (int64_t g = 0; g < image.groups; ++g) to[g] |= from[g] << low;
        if (low + channels > 64)
          for (int64_t g = 0; g < image.groups; ++g) to[lanes + g] |= from[g] >> (64 - low);
      }
    }
  }
}

}  // namespace

// Packs the signs of rows x channels into words, group by group: (rows, groups, words).
Tensor pack_signs(const Tensor& x, int64_t groups) {
  const int64_t rows = x.size(0), channels = x.size(1) / groups, words = (channels + 63) / 64;
  Tensor result = at::empty({rows, groups, words}, at::kLong);
  const float* in = x.data_ptr<float>();
  auto* out = reinterpret_cast<uint64_t*>(result.data_ptr<int64_t>());
  at::parallel_for(0, rows * groups, std::max<int64_t>(1, GRAIN / channels), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) pack(in + i * channels, nullptr, nullptr, channels, out + i * words);
  });
  return result;
}

// x: (batch, height, width, channels) float. corrections: (taps, outputs), what a tap that lies outside would wrongly add,
// empty where padding is +-1. limits, flips: see pack; by channel, flips as words by group; empty for signs. scale, slope:
// by output, of a factor and a PReLU on the results; order: of every channel of the result the output that it is; addend:
// like the result, added at last; each empty for none. The kernel is packed in one of three ways:
//   TAPS     (groups, blocks, taps, words, OUT): the channels of every tap in words of their own
//   PATCHES  (groups, blocks, 1, words, OUT): all taps of a group in as few words as they need
//   GROUPS   (outputs of a group, words, lanes): likewise, with the groups side by side, up to a multiple of eight
// Returns (batch, out height, out width, outputs).
enum Layout : int64_t { TAPS = 0, PATCHES = 1, GROUPS = 2 };

Tensor packed_conv2d(const Tensor& x, const Tensor& kernel, const Tensor& corrections, const Tensor& limits,
                     const Tensor& flips, const Tensor& scale, const Tensor& slope, const Tensor& order,
                     const Tensor& addend, int64_t groups, int64_t outputs, int64_t kernel_height, int64_t kernel_width,
                     at::IntArrayRef stride, at::IntArrayRef padding,
                     at::IntArrayRef dilation, int64_t pad_bit, int64_t layout) {
  const Image image =
      pack_image(x, limits, flips, groups, kernel_height, kernel_width, stride, padding, dilation, pad_bit);
  const auto* packed = reinterpret_cast<const uint64_t*>(image.bits.data_ptr<int64_t>());
  const int64_t taps = kernel_height * kernel_width, per_group = outputs / groups;
  const int64_t out_height = image.out_height, out_width = image.out_width;
  const bool whole = layout != TAPS;  // a patch is read as one tap
  const int64_t read = whole ? 1 : taps, words = whole ? (taps * image.channels + 63) / 64 : image.words;
  const int64_t lanes = layout == GROUPS ? kernel.size(2) : groups, blocks = layout == GROUPS ? 0 : kernel.size(1);
  Tensor result = at::empty({image.batch, out_height, out_width, outputs}, at::kFloat);
  TORCH_CHECK(!addend.numel() || addend.sizes() == result.sizes(), "what is added has another shape than the result");
  for (const Tensor& one : {scale, slope, order})
    TORCH_CHECK(!one.numel() || (one.numel() == outputs && one.is_contiguous()), "one number for every output is wanted");
  float* out = result.data_ptr<float>();
  const auto* k = reinterpret_cast<const uint64_t*>(kernel.data_ptr<int64_t>());
  const int64_t kernel_step = read * words * OUT;
  const float total = static_cast<float>(taps * image.channels);
  const float* wrong = corrections.numel() ? corrections.data_ptr<float>() : nullptr;
  const float* factor = scale.numel() ? scale.data_ptr<float>() : nullptr;
  const float* bent = slope.numel() ? slope.data_ptr<float>() : nullptr;
  const int64_t* source = order.numel() ? order.data_ptr<int64_t>() : nullptr;
  const float* added = addend.numel() ? addend.data_ptr<float>() : nullptr;
  const int64_t work = out_width * outputs * read * words;
  at::parallel_for(0, image.batch * out_height, std::max<int64_t>(1, 65536 / std::max<int64_t>(1, work)),
                   [&](int64_t begin, int64_t end) {
    std::vector<const uint64_t*> from(read);
    std::vector<uint64_t> patches(whole ? out_width * words * lanes : 0);
    std::vector<float> values(layout == GROUPS ? per_group * lanes : 0);
    std::vector<float> raw(out_width * outputs);
    uint64_t counts[PIXELS * 2 * OUT];
    const int64_t shift = whole ? words * lanes : stride[1] * image.pixel, step = whole ? lanes : 1;
    for (int64_t row = begin; row < end; ++row) {
      const int64_t n = row / out_height, oy = row % out_height;
      float* const line = raw.data();
      if (whole)
        gather_patches(packed, image, row, kernel_height, kernel_width, stride, dilation, words, lanes, patches.data());
      if (layout == GROUPS) {
        for (int64_t ox = 0; ox < out_width; ++ox) {
          count_groups(patches.data() + ox * shift, k, per_group, words, lanes, total, values.data());
          float* to = line + ox * outputs;
          for (int64_t g = 0; g < groups; ++g)
            for (int64_t o = 0; o < per_group; ++o) to[g * per_group + o] = values[o * lanes + g];
        }
      }
      for (int64_t group = 0; group < groups; ++group) {
        for (int64_t block = 0; block < blocks; block += 2) {
          const uint64_t* kernels = k + (group * blocks + block) * kernel_step;
          const int64_t live = std::min<int64_t>(2 * OUT, per_group - block * OUT);
          for (int64_t ox = 0; ox < out_width; ox += PIXELS) {
            if (whole) {
              from[0] = patches.data() + ox * shift + group;
            } else {
              for (int64_t i = 0; i < kernel_height; ++i)
                for (int64_t j = 0; j < kernel_width; ++j)
                  from[i * kernel_width + j] =
                      packed +
                      (((n * image.full_height + oy * stride[0] + i * dilation[0]) * image.full_width) + ox * stride[1] +
                       j * dilation[1]) * image.pixel + group * words;
            }
            const int64_t tile = std::min<int64_t>(PIXELS, out_width - ox);
            if (tile == PIXELS) {
              count_bits<PIXELS>(from.data(), &shift, read, words, step, kernels, kernel_step, counts);
            } else {
              for (int64_t p = 0; p < tile; ++p) {
                count_bits<1>(from.data(), &shift, read, words, step, kernels, kernel_step, counts + p * 2 * OUT);
                for (auto& address : from) address += shift;
              }
            }
            for (int64_t p = 0; p < tile; ++p) {
              float* to = line + (ox + p) * outputs + group * per_group + block * OUT;
              for (int64_t o = 0; o < live; ++o) to[o] = total - 2.f * static_cast<float>(counts[p * 2 * OUT + o]);
            }
          }
        }
      }
      for (int64_t ox = 0; ox < out_width; ++ox) {
        float* to = line + ox * outputs;
        for (int64_t i = 0; wrong && i < kernel_height; ++i) {
          const int64_t y = oy * stride[0] - padding[0] + i * dilation[0];
          const bool above = y < 0 || y >= image.height;
          for (int64_t j = 0; j < kernel_width; ++j) {
            const int64_t at = ox * stride[1] - padding[1] + j * dilation[1];
            if (!above && at >= 0 && at < image.width) continue;
            const float* off = wrong + (i * kernel_width + j) * outputs;
            for (int64_t o = 0; o < outputs; ++o) to[o] -= off[o];
          }
        }
        if (factor)
          for (int64_t o = 0; o < outputs; ++o) to[o] *= factor[o];
        if (bent)
          for (int64_t o = 0; o < outputs; ++o) to[o] = to[o] > 0.f ? to[o] : bent[o] * to[o];
        float* done = out + (row * out_width + ox) * outputs;
        const float* more = added ? added + (row * out_width + ox) * outputs : nullptr;
        if (source)
          for (int64_t o = 0; o < outputs; ++o) done[o] = to[source[o]];
        else
          std::memcpy(done, to, outputs * sizeof(float));
        if (more)
          for (int64_t o = 0; o < outputs; ++o) done[o] += more[o];
      }
    }
  });
  return result;
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("sign_forward", &sign_forward);
  m.def("masked", &masked);
  m.def("scaled_prelu_forward", &scaled_prelu_forward);
  m.def("scaled_prelu_backward", &scaled_prelu_backward);
  m.def("norm_forward", &norm_forward);
  m.def("norm_backward", &norm_backward);
  m.def("depthwise_weight_gradient", &depthwise_weight_gradient);
  m.def("pack_signs", &pack_signs);
  m.def("packed_conv2d",
        [](const Tensor& x, const Tensor& kernel, const Tensor& corrections, const Tensor& limits, const Tensor& flips,
           const Tensor& scale, const Tensor& slope, const Tensor& order, const Tensor& addend, int64_t groups,
           int64_t outputs, int64_t kernel_height, int64_t kernel_width, std::vector<int64_t> stride, std::vector<int64_t> padding,
           std::vector<int64_t> dilation, int64_t pad_bit, int64_t layout) {
          return packed_conv2d(x, kernel, corrections, limits, flips, scale, slope, order, addend, groups, outputs,
                               kernel_height, kernel_width, stride, padding, dilation, pad_bit, layout);
        });
}
