/* The LZF compression that h5py offers (HDF5 filter 32000), for reading. */
#pragma once

void gmv_lzf_register(void);
