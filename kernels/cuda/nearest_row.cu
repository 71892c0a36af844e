// For each query q_i: the row x_j with the smallest |x_j|^2 / 2 - q_i . x_j, which is the nearest one, and the first
// among equals; no array of all pairs. Compiled behind tiles.cu.
//
// The caller appends a feature: 1 to the queries and -|x|^2 / 2 to the rows; the largest product is the answer. Blocks
// along y share the rows: scores[s, i] and indices[s, i] are the best of the s-th part, and the answer is the largest
// of them, at the first s among equals. A part has fewer than 2^31 rows; none is empty. The grid is (ceil(m / TILE),
// number of parts).

constexpr REAL LOWEST = REAL(sizeof(REAL) == 4 ? -3.402823466e+38 : -1.7976931348623157e+308);

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    nearest_row(const REAL* __restrict__ queries, Index m, const REAL* __restrict__ rows, Index n, int d,
                REAL* __restrict__ scores, Index* __restrict__ indices) {
    __shared__ Operands operands;
    // Best of the columns of each thread so far, for each of its rows: in shared memory, since the inner loop of
    // tiles.cu needs every register. `found` counts from the first row of this part.
    __shared__ REAL score[TILE][SIDE + 1];
    __shared__ int found[TILE][SIDE + 1];
    const Range tiles = my_tiles(n);
    const Place own = place(threadIdx.x);

    const Index row0 = Index(blockIdx.x) * TILE;
    for (int a = 0; a < OWN; ++a) {
        score[offset(own.row, a)][own.column / V] = LOWEST;
        found[offset(own.row, a)][own.column / V] = 0;
    }
    for_each_tile(queries, m, row0, rows, n, tiles.first, tiles.last, d, operands, [&](int tile, auto& sum) {
        const int start = (tile - tiles.first) * TILE;
#pragma unroll
        for (int a = 0; a < OWN; ++a) {
            REAL high = sum[a][0];
#pragma unroll
            for (int b = 1; b < OWN; ++b) high = sum[a][b] > high ? sum[a][b] : high;
            REAL& best = score[offset(own.row, a)][own.column / V];
            if (high > best) {  // rare after a few tiles: the place is looked for only then
                best = high;
                int at = 0;
#pragma unroll
                for (int b = OWN - 1; b >= 0; --b)
                    if (sum[a][b] == high) at = offset(0, b);
                found[offset(own.row, a)][own.column / V] = start + own.column + at;
            }
        }
    });
    __syncthreads();
    const Index i = row0 + threadIdx.x;
    if (threadIdx.x < TILE && i < m) {
        REAL high = score[threadIdx.x][0];
        int first = found[threadIdx.x][0];
        for (int s = 1; s < SIDE; ++s) {
            const REAL value = score[threadIdx.x][s];
            const int at = found[threadIdx.x][s];
            if (value > high || (value == high && at < first)) high = value, first = at;
        }
        scores[blockIdx.y * m + i] = high;
        indices[blockIdx.y * m + i] = Index(tiles.first) * TILE + first;
    }
}
