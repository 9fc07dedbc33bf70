// Products of sparse matrices (CSR) with dense ones, for float32 on the CPU. Plain C, so that it builds in seconds.
//
// Libraries loop over the columns of the dense matrix with a trip count that is known only at run time; for the few
// columns of a graph network (7 to 256) most of the time goes into that. Here the columns of a row are taken in one or
// more blocks of up to 64 whose sums stay in registers. GCC keeps vectors of its own type there, and an array of floats
// not.

#include <cstdint>
#ifdef __AVX__
#include <immintrin.h>
#endif

namespace {

struct Product {
    const int32_t* crow;
    const int32_t* col;
    const float* values;
    const int32_t* order;  // where the value of every entry stands; null where they stand in order
    const float* dense;
    const float* added;  // null, or added to the product
    float* out;
    int64_t width;
    float factor;  // of the product
};

typedef float Eight __attribute__((vector_size(32), aligned(4)));

// The last, fewer than eight columns of a matrix.
#ifdef __AVX__
struct Rest {
    __m256i mask;
    explicit Rest(int64_t count) {
        alignas(32) int32_t taken[8];
        for (int i = 0; i < 8; ++i) taken[i] = i < count ? -1 : 0;
        mask = _mm256_load_si256(reinterpret_cast<const __m256i*>(taken));
    }
    Eight load(const float* from) const { return _mm256_maskload_ps(from, mask); }
    void store(float* to, Eight value) const { _mm256_maskstore_ps(to, mask, value); }
};
#else
struct Rest {
    int64_t count;
    explicit Rest(int64_t count) : count(count) {}
    Eight load(const float* from) const {
        Eight value = {};
        for (int64_t i = 0; i < count; ++i) value[i] = from[i];
        return value;
    }
    void store(float* to, Eight value) const {
        for (int64_t i = 0; i < count; ++i) to[i] = value[i];
    }
};
#endif

// N times eight columns from `column` on, and the rest behind them if there is one.
template <int N, bool HAS_REST>
void block(const Product& p, int64_t row, int64_t column, const Rest& rest) {
    Eight sums[N + 1] = {};
    for (int32_t entry = p.crow[row]; entry < p.crow[row + 1]; ++entry) {
        const float value = p.values[p.order ? p.order[entry] : entry];
        const float* source = p.dense + int64_t(p.col[entry]) * p.width + column;
#pragma GCC unroll 8
        for (int i = 0; i < N; ++i) sums[i] += value * *reinterpret_cast<const Eight*>(source + 8 * i);
        if (HAS_REST) sums[N] += value * rest.load(source + 8 * N);
    }
    float* out = p.out + row * p.width + column;
    const float* added = p.added ? p.added + row * p.width + column : nullptr;
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) {
        Eight sum = p.factor * sums[i];
        if (added) sum += *reinterpret_cast<const Eight*>(added + 8 * i);
        *reinterpret_cast<Eight*>(out + 8 * i) = sum;
    }
    if (HAS_REST) {
        Eight sum = p.factor * sums[N];
        if (added) sum += rest.load(added + 8 * N);
        rest.store(out + 8 * N, sum);
    }
}

template <bool HAS_REST>
void last_block(const Product& p, int64_t row, int64_t column, const Rest& rest) {
    switch ((p.width - column) / 8) {
        case 0: return block<0, HAS_REST>(p, row, column, rest);
        case 1: return block<1, HAS_REST>(p, row, column, rest);
        case 2: return block<2, HAS_REST>(p, row, column, rest);
        case 3: return block<3, HAS_REST>(p, row, column, rest);
        case 4: return block<4, HAS_REST>(p, row, column, rest);
        case 5: return block<5, HAS_REST>(p, row, column, rest);
        case 6: return block<6, HAS_REST>(p, row, column, rest);
        case 7: return block<7, HAS_REST>(p, row, column, rest);
    }
}

}  // namespace

extern "C" void csr_times_dense(const int32_t* crow, const int32_t* col, const float* values, const int32_t* order,
                                const float* dense, const float* added, float* out, int64_t rows, int64_t width,
                                float factor, int32_t threads) {
    const Product p{crow, col, values, order, dense, added, out, width, factor};
    const Rest rest(width % 8);
#pragma omp parallel for schedule(dynamic, 64) num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; ++row) {
        int64_t column = 0;
        for (; column + 64 <= width; column += 64) block<8, false>(p, row, column, rest);
        if (column == width) continue;
        if (width % 8) {
            last_block<true>(p, row, column, rest);
        } else {
            last_block<false>(p, row, column, rest);
        }
    }
}
