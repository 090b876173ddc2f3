/* The LZF compression that h5py offers, HDF5's filter 32000, on liblzf. */
#pragma once

enum { GMV_FILTER_LZF = 32000 };

void gmv_lzf_register(void);
