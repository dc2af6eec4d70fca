// Median microseconds of llama.cpp's samplers to choose one token, draw included, on rows of normal logits of deviation 3.
// Prints lines of VOCABULARY, our name of the chain, and the median. `tests/peers/samplers.sh` builds and runs it.
#include "llama.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>
#include <vector>

static double median_time(const std::vector<std::vector<float>> & rows, const std::vector<llama_sampler *> & chain) {
    std::vector<llama_token_data> tokens(rows[0].size());
    std::vector<double> times;
    for (int step = 0; step < 64; step++) {
        const auto & row = rows[step % rows.size()];
        const auto begin = std::chrono::steady_clock::now();
        for (size_t id = 0; id < row.size(); id++) {
            tokens[id] = { (llama_token) id, row[id], 0.0f };
        }
        llama_token_data_array all = { tokens.data(), tokens.size(), -1, false };
        for (auto * stage : chain) {
            llama_sampler_apply(stage, &all);
        }
        const auto end = std::chrono::steady_clock::now();
        times.push_back(std::chrono::duration<double, std::micro>(end - begin).count());
    }
    for (auto * stage : chain) {
        llama_sampler_free(stage);
    }
    std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
    return times[times.size() / 2];
}

int main() {
    for (size_t vocabulary : { 32000, 128256, 262144 }) {
        std::mt19937 generator(1);
        std::normal_distribution<float> normal(0.0f, 3.0f);
        std::vector<std::vector<float>> rows(16, std::vector<float>(vocabulary));
        for (auto & row : rows) {
            for (auto & logit : row) {
                logit = normal(generator);
            }
        }
        const auto measure = [&](const char * name, const std::vector<llama_sampler *> & chain) {
            printf("%zu\t%s\t%.1f\n", vocabulary, name, median_time(rows, chain));
        };
        const auto draw = [] { return llama_sampler_init_dist(1); };
        measure("draw", { draw() });
        measure("greedy", { llama_sampler_init_greedy() });
        measure("temperature(t=0.8)", { llama_sampler_init_temp(0.8f), draw() });
        measure("top-k(k=40)", { llama_sampler_init_top_k(40), draw() });
        measure("top-p(p=0.95)", { llama_sampler_init_top_p(0.95f, 1), draw() });
        measure("min-p(p=0.05)", { llama_sampler_init_min_p(0.05f, 1), draw() });
        measure("typical(tau=0.95)", { llama_sampler_init_typical(0.95f, 1), draw() });
        measure("top-n-sigma(n=1)", { llama_sampler_init_top_n_sigma(1.0f), draw() });
        measure("xtc(probability=0.5)", { llama_sampler_init_xtc(0.5f, 0.1f, 1, 1), draw() });
        measure("mirostat(version=2)", { llama_sampler_init_mirostat_v2(1, 5.0f, 0.1f) });
    }
}
