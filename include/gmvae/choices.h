/* Values of the config's keys that choose among words: each list is expanded to an enum of constants below and, in
 * config.def, to the words. C(CONSTANT, word); the order is that of the values, the first is 0.
 */
#pragma once

#define GMV_GENES(C)   C(GENES_ALL, all) C(GENES_N_TOP, n_top) C(GENES_FILE, file)
#define GMV_FLAVORS(C) C(FLAVOR_LOG1P_VARIANCE, log1p_variance) C(FLAVOR_SEURAT_V3, seurat_v3)
#define GMV_RESIDENCES(C)                                                                                              \
    C(RESIDENCE_AUTO, auto) C(RESIDENCE_DEVICE, device) C(RESIDENCE_HOST, host) C(RESIDENCE_STREAM, stream)
#define GMV_CACHES(C)     C(CACHE_AUTO, auto) C(CACHE_ALL, all) C(CACHE_NONE, none)
#define GMV_DRIVERS(C)    C(DRIVER_AUTO, auto) C(DRIVER_MPIO, mpio) C(DRIVER_POSIX, posix)
#define GMV_PRIORS(C)     C(PRIOR_MIXTURE_OF_W, mixture_of_w) C(PRIOR_MIXTURE, mixture) C(PRIOR_NORMAL, normal)
#define GMV_OBJECTIVES(C) C(OBJECTIVE_MARGINAL, marginal) C(OBJECTIVE_PUBLISHED, published) C(OBJECTIVE_MC, mc)
#define GMV_LIBRARIES(C)  C(LIBRARY_OBSERVED, observed) C(LIBRARY_NONE, none)
#define GMV_INPUTS(C)                                                                                                  \
    C(INPUT_LOG1P, log1p) C(INPUT_STANDARDIZE, standardize) C(INPUT_UNIT_SPHERE, unit_sphere) C(INPUT_NONE, none)
#define GMV_PRECISIONS(C) C(FP32, fp32) C(TF32, tf32) C(BF16, bf16)
#define GMV_REDUCTIONS(C) C(REDUCTION_FAST, fast) C(REDUCTION_EXACT, exact)
#define GMV_RESUMES(C)    C(RESUME_AUTO, auto) C(RESUME_NEVER, never) C(RESUME_ALWAYS, always)
#define GMV_SORTS(C)      C(SORT_NONE, none) C(SORT_TYPE, type)
#define GMV_LOGS(C)       C(LOG_CSV, csv) C(LOG_TENSORBOARD, tensorboard)
#define GMV_METHODS(C)    C(METHOD_GRID, grid) C(METHOD_RANDOM, random) C(METHOD_HALVING, halving)

#define GMV_CHOICE_CONSTANT(constant, word) GMV_##constant,
#define GMV_CHOICE_WORD(constant, word)     "|" #word
#define GMV_CHOICE_NAME(constant, word)     #word, /* of an array of names */

typedef enum gmv_objective { GMV_OBJECTIVES(GMV_CHOICE_CONSTANT) } gmv_objective;
typedef enum gmv_input_kind { GMV_INPUTS(GMV_CHOICE_CONSTANT) } gmv_input_kind;
typedef enum gmv_precision { GMV_PRECISIONS(GMV_CHOICE_CONSTANT) } gmv_precision;
enum { GMV_GENES(GMV_CHOICE_CONSTANT) };
enum { GMV_FLAVORS(GMV_CHOICE_CONSTANT) };
enum { GMV_RESIDENCES(GMV_CHOICE_CONSTANT) };
enum { GMV_CACHES(GMV_CHOICE_CONSTANT) };
enum { GMV_DRIVERS(GMV_CHOICE_CONSTANT) };
enum { GMV_PRIORS(GMV_CHOICE_CONSTANT) };
enum { GMV_LIBRARIES(GMV_CHOICE_CONSTANT) };
enum { GMV_REDUCTIONS(GMV_CHOICE_CONSTANT) };
enum { GMV_RESUMES(GMV_CHOICE_CONSTANT) };
enum { GMV_SORTS(GMV_CHOICE_CONSTANT) };
enum { GMV_METHODS(GMV_CHOICE_CONSTANT) };
enum { GMV_LOGS(GMV_CHOICE_CONSTANT) };

/* "a|b|c" */
#define GMV_CHOICES(list) (&(list(GMV_CHOICE_WORD))[1])
