// work[s, i, :] = sum over the s-th part of the rows y_j of Y of k(x_i, y_j) block[j, :]; the kernel matrix is never
// stored. Compiled behind tiles.cu.
//
// A tile of kernel values goes from registers through shared memory, SLAB columns at a time (PART of each thread: its
// registers are free after that), and is multiplied there with the rows of `block`: WIDTH columns per launch, from
// `column` on. Products are summed in REAL over RUN tiles and in double beyond that: each thread adds to its own places
// of `work`, so results do not depend on timing. The sums of a run wait in shared memory, since the inner loop of
// tiles.cu needs every register.
//
// `block` and `work` have `columns` columns, a multiple of WIDTH (the caller pads); `block` starts at a multiple of 16
// bytes. The grid is (ceil(m / TILE), number of parts).
//
// Macros: WIDTH is 8, 16 or 32. One of
//   KERNEL_RBF        2^(scale min(s, 0)): rows x' = (x, -|x|^2 / 2, 1) and y' = (y, 1, -|y|^2 / 2) have the product
//                     s = -|x - y|^2 / 2, so scale = 2 gamma log2(e)   (2^x is cheaper than e^x)
//   KERNEL_LAPLACIAN  2^(scale s), scale = -gamma log2(e); defines L1, s is the L1 distance
//   KERNEL_POLY       (scale s + coef0)^degree; `power` is the degree where that is a whole number, else -1
//   KERNEL_SIGMOID    tanh(scale s + coef0)

constexpr int COLUMN_GROUPS = WIDTH / V;
constexpr int ROWS = TILE * COLUMN_GROUPS / THREADS;
constexpr int PART = V / 2;         // columns of a thread that are staged at a time
constexpr int SLAB = SIDE * PART;  // columns that all threads stage
constexpr int RUN = 16;

static_assert(WIDTH % V == 0 && ROWS >= 1 && SLAB * COLUMN_GROUPS <= THREADS, "WIDTH is 8, 16 or 32");

struct alignas(16) Stage {  // as Operands
    REAL values[SLAB][TILE];  // transposed
    REAL block[SLAB][WIDTH];
};

// What a thread owns of the result: ROWS rows and V columns from these on.
struct Share {
    int row;
    int column;
};

__device__ __forceinline__ Share share_of(int thread) {
    return {thread / COLUMN_GROUPS * ROWS, thread % COLUMN_GROUPS * V};
}

__device__ __forceinline__ REAL kernel_value(REAL s, REAL scale, REAL coef0, REAL degree, int power) {
#if defined(KERNEL_RBF)
    return exp2(scale * (s < 0 ? s : REAL(0)));
#elif defined(KERNEL_LAPLACIAN)
    return exp2(scale * s);
#elif defined(KERNEL_SIGMOID)
    return tanh(scale * s + coef0);
#elif defined(KERNEL_POLY)
    const REAL base = scale * s + coef0;
    if (power < 0) return pow(base, degree);
    REAL value = 1;
#pragma unroll 1
    for (int e = 0; e < power; ++e) value *= base;
    return value;
#else
#error "no kernel chosen"
#endif
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    kernel_times_block(const REAL* __restrict__ X, Index m, const REAL* __restrict__ Y, Index n, int d,
                       const REAL* __restrict__ block, int columns, int column, REAL scale, REAL coef0, REAL degree,
                       int power, double* __restrict__ work) {
    __shared__ union {
        Operands operands;
        Stage stage;
    } shared;
    alignas(16) __shared__ REAL out[TILE][WIDTH];  // each thread uses its own ROWS x V
    Stage& stage = shared.stage;
    const Range tiles = my_tiles(n);
    const Place own = place(threadIdx.x);
    const Share share = share_of(threadIdx.x);

    const Index row0 = Index(blockIdx.x) * TILE;
    for (int e = 0; e < ROWS * V; ++e) out[share.row + e / V][share.column + e % V] = 0;

    // Into `work`, which has no values yet unless this was done before.
    auto flush = [&](bool before) {
#pragma unroll 1
        for (int e = 0; e < ROWS * V; ++e) {
            const Index i = row0 + share.row + e / V;
            REAL& run = out[share.row + e / V][share.column + e % V];
            if (i < m) {
                double& sum = work[(blockIdx.y * m + i) * columns + column + share.column + e % V];
                sum = before ? sum + run : run;
            }
            run = 0;
        }
    };

    for_each_tile(X, m, row0, Y, n, tiles.first, tiles.last, d, shared.operands, [&](int tile, auto& sum) {
#pragma unroll
        for (int slab = 0; slab < OWN; slab += PART) {
            __syncthreads();  // the stage takes the place of the operands, or of the slab before
#pragma unroll
            for (int b = 0; b < PART; ++b)
#pragma unroll
                for (int g = 0; g < 2; ++g) {
                    Vector rows;
#pragma unroll
                    for (int q = 0; q < V; ++q)
                        rows.at[q] = kernel_value(sum[g * V + q][slab + b], scale, coef0, degree, power);
                    REAL* values = &stage.values[own.column / V * PART + b][g * GROUP + own.row];
                    *reinterpret_cast<Vector*>(values) = rows;
                }
            if (threadIdx.x < SLAB * COLUMN_GROUPS) {
                const int e = threadIdx.x / COLUMN_GROUPS;
                const Index j = Index(tile) * TILE + offset(e / PART * V, slab + e % PART);
                Vector right = {};
                if (j < n) right = vector_at(block + j * columns + column + share.column);
                *reinterpret_cast<Vector*>(&stage.block[e][share.column]) = right;
            }
            __syncthreads();
            Vector sums[ROWS];
#pragma unroll
            for (int r = 0; r < ROWS; ++r) sums[r] = vector_at(&out[share.row + r][share.column]);
#pragma unroll 4
            for (int e = 0; e < SLAB; ++e) {
                const auto left = *reinterpret_cast<const Numbers<ROWS>*>(&stage.values[e][share.row]);
                const Vector right = vector_at(&stage.block[e][share.column]);
#pragma unroll
                for (int r = 0; r < ROWS; ++r)
#pragma unroll
                    for (int q = 0; q < V; ++q) sums[r].at[q] += left.at[r] * right.at[q];
            }
#pragma unroll
            for (int r = 0; r < ROWS; ++r) *reinterpret_cast<Vector*>(&out[share.row + r][share.column]) = sums[r];
        }
        __syncthreads();  // the operands may be written again
        const int done = tile + 1 - tiles.first;
        if (done % RUN == 0) flush(done > RUN);
    });
    flush(tiles.last - tiles.first >= RUN);
}
