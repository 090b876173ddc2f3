#error "cuda-on-host has bfloat16 (cuda_bf16.h) and no half precision"
