// Square tiles of inner products (or L1 distances) between the rows of two arrays, kept in registers.
//
// The other files of this folder are compiled behind this one: it holds what they share. A block of 256 threads takes
// TILE rows of X and walks over tiles of TILE rows of Y; each thread owns (2 V) x (2 V) of the TILE x TILE values.
// Features pass through shared memory DEPTH at a time, in two buffers, so that one barrier per step is enough, and the
// loads of the next step are in flight during the arithmetic of this one.
//
// Macros: REAL is float or double; L1 asks for sums of |x - y| instead of x * y. Everything is sized by vectors of 16
// bytes: V = 4 floats or 2 doubles, TILE = 128 or 64. Rows are contiguous, start at multiples of 16 bytes, and have a
// multiple of DEPTH features (the caller pads with zeros); their number is free, and has 64 bits.

typedef long long Index;

constexpr int V = 16 / sizeof(REAL);
constexpr int SIDE = 16;         // threads along a side of the tile
constexpr int THREADS = SIDE * SIDE;
constexpr int GROUP = SIDE * V;  // rows that one vector per thread covers
constexpr int TILE = 2 * GROUP;
constexpr int OWN = 2 * V;       // rows, and columns, of one thread: V consecutive ones in each of two groups
constexpr int DEPTH = 8;
constexpr int PITCH = TILE + V;  // one vector of padding: the transposed stores hit different banks

#ifdef L1
constexpr int UNROLL = 2;        // the differences take registers too
#else
constexpr int UNROLL = DEPTH;
#endif

static_assert(TILE * DEPTH == THREADS * V, "each thread loads one vector of X and one of Y per step");

template <int N>
struct alignas(N < V ? N * sizeof(REAL) : 16) Numbers {
    REAL at[N];
};

using Vector = Numbers<V>;

// Read and written by vectors, so it starts at a multiple of 16 bytes (and its rows do: PITCH is a multiple of V).
struct alignas(16) Operands {
    REAL x[2][DEPTH][PITCH];
    REAL y[2][DEPTH][PITCH];
};

// Place of a thread in the tile. A warp is 8 x 4 threads: its shared-memory reads are 128 and 64 contiguous bytes.
struct Place {
    int row;
    int column;
};

__device__ __forceinline__ Place place(int thread) {
    const int warp = thread / 32, lane = thread % 32;
    return {(warp % 2 * 8 + lane % 8) * V, (warp / 2 * 4 + lane / 8) * V};
}

// Offset in the tile of the i-th row of a thread whose first row is `first` (likewise for columns).
__device__ __forceinline__ int offset(int first, int i) {
    return i / V * GROUP + first + i % V;
}

__device__ __forceinline__ const Vector& vector_at(const REAL* start) {
    return *reinterpret_cast<const Vector*>(start);
}

// Offset of a row from the first row of its tile; beyond the end, that of the last one: it fills up the last tile.
__device__ __forceinline__ unsigned row_offset(Index n, Index first, int row, int d) {
    const Index last = n - 1 - first;
    return unsigned(row < last ? row : int(last)) * d;
}

__device__ __forceinline__ void put(REAL (&operand)[DEPTH][PITCH], int row, int k, const Vector& vector) {
#pragma unroll
    for (int q = 0; q < V; ++q) operand[k + q][row] = vector.at[q];
}

__device__ __forceinline__ void accumulate(REAL& sum, REAL x, REAL y) {
#ifdef L1
    sum += fabs(x - y);
#else
    sum += x * y;
#endif
}

// Tiles of Y from `first` up to `last`, at least one, against the tile of X that starts at row0: finish(tile, sum) for
// each, with sum[a][b] for the rows row0 + offset(own.row, a) and tile * TILE + offset(own.column, b), where `own` is
// place(threadIdx.x). All threads of the block call it together, and may use the memory of `operands` in `finish`
// between two barriers.
template <class Finish>
__device__ __forceinline__ void for_each_tile(const REAL* X, Index m, Index row0, const REAL* Y, Index n, int first,
                                              int last, int d, Operands& operands, Finish finish) {
    const int row = threadIdx.x / (DEPTH / V), part = threadIdx.x % (DEPTH / V) * V;
    const Place own = place(threadIdx.x);
    // The same start for all threads, and a 32-bit offset of each: fewer registers than pointers.
    const REAL* x_tile = X + row0 * d;
    const REAL* y_tile = Y + Index(first) * TILE * d;
    const unsigned x_offset = row_offset(m, row0, row, d) + part;
    unsigned y_offset = row_offset(n, Index(first) * TILE, row, d) + part;
    Vector x = vector_at(x_tile + x_offset), y = vector_at(y_tile + y_offset);
    int buffer = 0;
#pragma unroll 1
    for (int tile = first; tile < last; ++tile) {
        REAL sum[OWN][OWN] = {};
#pragma unroll 1
        for (int k = 0; k < d; k += DEPTH) {
            put(operands.x[buffer], row, part, x);
            put(operands.y[buffer], row, part, y);
            __syncthreads();  // also: nobody reads the other buffer any more
            unsigned next = k + DEPTH;
            if (next == d) {
                next = 0;
                const Index start = Index(tile + 1 < last ? tile + 1 : first) * TILE;
                y_tile = Y + start * d;
                y_offset = row_offset(n, start, row, d) + part;
            }
            x = vector_at(x_tile + (x_offset + next));
            y = vector_at(y_tile + (y_offset + next));
#pragma unroll UNROLL
            for (int q = 0; q < DEPTH; ++q) {
                Vector xs[2], ys[2];
#pragma unroll
                for (int g = 0; g < 2; ++g) {
                    xs[g] = vector_at(&operands.x[buffer][q][g * GROUP + own.row]);
                    ys[g] = vector_at(&operands.y[buffer][q][g * GROUP + own.column]);
                }
#pragma unroll
                for (int a = 0; a < OWN; ++a)
#pragma unroll
                    for (int b = 0; b < OWN; ++b) accumulate(sum[a][b], xs[a / V].at[a % V], ys[b / V].at[b % V]);
            }
            buffer ^= 1;
        }
        finish(tile, sum);
    }
}

// Tiles of this block along Y: gridDim.y blocks share them.
struct Range {
    int first;
    int last;
};

__device__ __forceinline__ Range my_tiles(Index n) {
    const int tiles = int((n + TILE - 1) / TILE), each = (tiles - 1) / int(gridDim.y) + 1;
    return {min(each * int(blockIdx.y), tiles), min(each * int(blockIdx.y) + each, tiles)};
}
